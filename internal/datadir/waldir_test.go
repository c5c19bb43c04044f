package datadir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLogElsewhere(t *testing.T) {
	data, wal := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "wal")
	bootstrap := func(d *Dir) error {
		nursery, err := d.NewStores()
		if err != nil {
			return err
		}
		if err := d.LinkLog(nursery, wal); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(nursery, logName, "file"), nil, 0o600); err != nil {
			return err
		}
		return os.Mkdir(filepath.Join(nursery, stateName), 0o700)
	}
	d, err := Open(data)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first attempt is interrupted
		if err := bootstrap(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Create(Identity{Name: "n", ClusterID: 1, MemberID: 2, Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := UnmarkLog(wal); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.LogDir(), "file")); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(wal); len(entries) != 1 {
		t.Errorf("%s has %v", wal, entries)
	}
	for dir, want := range map[string]string{wal: "", "": "", t.TempDir(): "the log of this member is in " + wal + "/log", wal + "/none": "no such file"} {
		if err := d.CheckLog(dir); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(data); err != nil || d.Identity() == nil {
		t.Fatal(err)
	}
	d.Close()

	other, err := Open(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := bootstrap(other); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("another member's log was accepted: %v", err)
	}
}
