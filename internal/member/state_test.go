package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// disk is an in-memory disk whose syncs a test can block or fail.
type disk struct {
	storage.CrashableFS
	onSync atomic.Pointer[func() error]
}

// newDisk returns a disk with the stores of a new sole member.
func newDisk(t *testing.T) *disk {
	d := &disk{CrashableFS: storage.NewCrashableFS()}
	if err := Initialize(d, "member", []membership.Member{{ID: 1}}); err != nil {
		t.Fatal(err)
	}
	d.syncNames(t)
	return d
}

// syncNames makes the stores' directories durable, which is package datadir's task.
func (d *disk) syncNames(t *testing.T) {
	for _, name := range []string{"/", "member"} {
		dir, err := d.CrashableFS.OpenDir(name)
		if err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (d *disk) watch(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, d: d}, nil
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.watch(d.CrashableFS.Create(name, c))
}

func (d *disk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.watch(d.CrashableFS.ReuseForWrite(old, name, c))
}

type diskFile struct {
	vfs.File
	d *disk
}

func (f *diskFile) hook() error {
	if hook := f.d.onSync.Load(); hook != nil {
		return (*hook)()
	}
	return nil
}

func (f *diskFile) Sync() error     { return errors.Join(f.hook(), f.File.Sync()) }
func (f *diskFile) SyncData() error { return errors.Join(f.hook(), f.File.SyncData()) }
func (f *diskFile) SyncTo(n int64) (bool, error) {
	if err := f.hook(); err != nil {
		return false, err
	}
	return f.File.SyncTo(n)
}

func testConfig(fs storage.FS) Config {
	return Config{
		Dir: "member", FS: fs, ID: 1, TickInterval: 100 * time.Millisecond, ElectionTicks: 10,
		SnapshotCount: 1000, CatchUpEntries: 5000, RequestBytesMax: 1 << 20,
		RaftLogger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
	}
}

func start(t *testing.T, cfg Config) *Member {
	t.Helper()
	m, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-m.Ready()
	return m
}

func closeMember(t *testing.T, m *Member) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func put(m *Member, key, value string) (revision int64, err error) {
	return putContext(context.Background(), m, key, value)
}

func putContext(ctx context.Context, m *Member, key, value string) (revision int64, err error) {
	res, err := m.Propose(ctx, machine.KindPut, machine.AppendPut(nil, &mvcc.PutOp{Key: []byte(key), Value: []byte(value)}))
	if err != nil {
		return 0, err
	}
	return res.Put.Revision, nil
}

func mustPut(t *testing.T, m *Member, key, value string) (revision int64) {
	t.Helper()
	revision, err := put(m, key, value)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// keys returns all keys with their values.
func keys(t *testing.T, m *Member) map[string]string {
	t.Helper()
	var c mvcc.Collector
	if _, err := m.Keys().Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte{0}, End: []byte{0}}}, &c); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, k := range c.Keys {
		out[string(k.Key)] = string(k.Value)
	}
	return out
}

func expect(t *testing.T, m *Member, key, want string) {
	t.Helper()
	if got := keys(t, m)[key]; got != want {
		t.Errorf("%s is %q, want %q", key, got, want)
	}
}

func name(parts ...any) string { return fmt.Sprint(parts...) }
