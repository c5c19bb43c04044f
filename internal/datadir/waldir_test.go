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
	for dir, want := range map[string]string{wal: "", "": "", t.TempDir(): "the log of this member is in " + wal + "/log", wal + "/none": "want --wal-dir=" + wal} {
		if err := d.CheckLog(dir); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
	// the disk is not mounted, and then the log has been moved
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(wal, moved); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{"": "NEW-DIRECTORY/log ", wal: wal + "/log ", moved: moved + "/log "} {
		want = "the log of this member is in " + wal + "/log, which cannot be read: no such file or directory: mount its disk, or, if the log was moved, change the link: ln -sfn " +
			want + d.LogDir()
		if err := d.CheckLog(dir); err == nil || err.Error() != want {
			t.Errorf("without the disk, %q: %v, want %s", dir, err, want)
		}
	}
	if err := os.Remove(d.LogDir()); err != nil {
		t.Fatal(err)
	}
	if err := d.CheckLog(""); err == nil || !strings.Contains(err.Error(), "the log of this member is missing: restore a backup") {
		t.Errorf("without the link: %v", err)
	}
	if err := os.Symlink(filepath.Join(moved, logName), d.LogDir()); err != nil {
		t.Fatal(err)
	}
	if err := d.CheckLog(moved); err != nil {
		t.Errorf("with another link: %v", err)
	}
	if err := os.Rename(moved, wal); err != nil {
		t.Fatal(err)
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
