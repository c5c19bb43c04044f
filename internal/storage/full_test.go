package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestOpenOnFullDisk: if the disk is full at any moment while a store is created, or opened with a
// journal to replay, opening ends with the disk's error.
func TestOpenOnFullDisk(t *testing.T) {
	used := NewCrashableFS()
	s, err := OpenLog("log", Options{FS: used})
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	if err := errors.Join(b.Append([]byte("key"), make([]byte, 10_000)), b.Commit(true), b.Close()); err != nil {
		t.Fatal(err)
	}
	used = used.Crash(0, rand.New(rand.NewPCG(1, 1)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		image CrashableFS
		open  func(Options) (*Store, error)
	}{
		"new log":       {NewCrashableFS(), func(o Options) (*Store, error) { return OpenLog("log", o) }},
		"new state":     {NewCrashableFS(), func(o Options) (*Store, error) { return OpenState("state", o) }},
		"log to replay": {used, func(o Options) (*Store, error) { return OpenLog("log", o) }},
	} {
		for n := int64(1); n < 100; n++ {
			t.Run(fmt.Sprintf("%s, full from write %d on", name, n), func(t *testing.T) {
				t.Parallel()
				disk := c.image.Crash(0, rand.New(rand.NewPCG(1, 1)))
				var count, refused atomic.Int64
				fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
					switch op.Kind {
					case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpMkdirAll:
						if count.Add(1) >= n {
							refused.Add(1)
							return syscall.ENOSPC
						}
					}
					return nil
				}))
				opened := make(chan error, 1)
				go func() {
					s, err := c.open(Options{FS: fs})
					if err == nil {
						err = s.Close()
					}
					opened <- err
				}()
				select {
				case err := <-opened:
					if refused.Load() > 0 && !errors.Is(err, syscall.ENOSPC) {
						// Pebble's error about its manifest is text.
						if text := fmt.Sprint(err); err == nil || !strings.Contains(text, syscall.ENOSPC.Error()) {
							t.Errorf("%d writes were refused; got %v", refused.Load(), err)
						}
					}
				case <-time.After(time.Minute):
					t.Error("opening does not end")
				}
				if refused.Load() > 20 {
					t.Errorf("tried %d times to write", refused.Load())
				}
			})
		}
	}
}
