package storage

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestWithoutSync runs a store on a disk whose syncs all fail.
func TestWithoutSync(t *testing.T) {
	broken := errors.New("synced")
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			return broken
		}
		return nil
	}))
	if _, err := OpenLog("with", Options{FS: disk}); !errors.Is(err, broken) {
		t.Fatalf("the disk syncs: %v", err)
	}
	fs := WithoutSync(disk)
	for range 2 { // created, and opened again
		s, err := OpenLog("log", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
