package member

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"cairn/internal/datadir"
	"cairn/internal/membership"
	"cairn/internal/storage"
)

// dirFiles are the files of a data directory on a file system of pebble's.
type dirFiles struct{ vfs.FS }

func (f dirFiles) ReadDir(path string) ([]string, error) { return f.List(path) }
func (f dirFiles) MkdirAll(path string) error            { return f.FS.MkdirAll(path, 0o700) }

func (f dirFiles) ReadFile(path string) ([]byte, error) {
	file, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	return text, errors.Join(err, file.Close())
}

func (f dirFiles) WriteFile(path string, text []byte) error {
	file, err := f.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Sync(), file.Close())
}

func (f dirFiles) Exists(path string) (bool, error) {
	_, err := f.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (f dirFiles) SyncDir(path string) error {
	d, err := f.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// firstStart creates a member in the directory "data", unless there is one, runs it, and writes a
// key. It returns the keys that the member had at its start.
func firstStart(t *testing.T, on storage.FS, value string, acknowledged *atomic.Bool) map[string]string {
	t.Helper()
	dir, err := datadir.OpenOn(dirFiles{on}, "data")
	if err != nil {
		t.Fatal(err)
	}
	if dir.Identity() == nil {
		stores, err := dir.NewStores()
		if err != nil {
			t.Fatal(err)
		}
		if err := Initialize(on, stores, []membership.Member{{ID: 1}}); err != nil {
			t.Fatal(err)
		}
		if err := dir.Create(datadir.Identity{MemberID: 1, ClusterID: 2, Name: "n"}); err != nil {
			t.Fatal(err)
		}
	}
	cfg := testConfig(on)
	cfg.Dir, cfg.TickInterval = dir.MemberDir(), time.Millisecond
	m := start(t, cfg)
	before := keys(t, m)
	mustPut(t, m, "key", value)
	acknowledged.Store(true)
	closeMember(t, m)
	return before
}

// TestPowerCutInFirstStart cuts the power before each call of a member's first start that changes
// the disk. The second start must create the member again, or continue with it.
func TestPowerCutInFirstStart(t *testing.T) {
	cuts := 0
	for n := int64(1); ; n++ {
		under := storage.NewCrashableFS()
		var count atomic.Int64
		var acknowledged, promised atomic.Bool
		var left atomic.Pointer[storage.CrashableFS]
		firstStart(t, errorfs.Wrap(under, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && count.Add(1) == n {
				promised.Store(acknowledged.Load())
				disk := under.Crash([]int{0, 50, 100}[n%3], rand.New(rand.NewPCG(uint64(n), 3)))
				left.Store(&disk)
			}
			return nil
		})), "first", &acknowledged)
		disk := left.Load()
		if disk == nil {
			break
		}
		cuts++
		var again atomic.Bool
		before := firstStart(t, *disk, "second", &again)
		if promised.Load() && before["key"] != "first" {
			t.Errorf("the power was cut before change %d of the disk: key is %q", n, before["key"])
		}
		if t.Failed() {
			t.Fatalf("the power was cut before change %d of the disk", n)
		}
	}
	if cuts < 100 {
		t.Errorf("the power was cut at %d places; there are more", cuts)
	}
}
