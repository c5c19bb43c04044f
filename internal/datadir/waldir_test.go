package datadir

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// bootstrapWith makes the stores of a new member, with the log in wal.
func bootstrapWith(d *Dir, wal string) error {
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

// names lists a directory.
func names(entries []os.DirEntry) string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestLogElsewhere(t *testing.T) {
	data, wal := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "wal")
	bootstrap := func(d *Dir) error { return bootstrapWith(d, wal) }
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
	if err := d.SignLog(wal); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.LogDir(), "file")); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(wal); names(entries) != "FORMAT LOCK log" {
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
		want = "the log of this member is in " + wal + "/log, which cannot be used: no such file or directory: mount its disk, or, if the log was moved, change the link: ln -sfn " +
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

// TestLogOfAnother has two members with --wal-dir whose directories are mixed up: each mistake is
// refused with what to do, and changes nothing.
func TestLogOfAnother(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	create := func(name string, id uint64) {
		t.Helper()
		d := mustOpen(t, at(name))
		defer mustClose(t, d)
		if err := bootstrapWith(d, at(name+".wal")); err != nil {
			t.Fatal(err)
		}
		if err := d.Create(Identity{Name: name, ClusterID: 0xc, MemberID: id, Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if err := d.SignLog(at(name + ".wal")); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name, wal, want string) {
		t.Helper()
		before := tree(t, root)
		d := mustOpen(t, at(name))
		defer mustClose(t, d)
		err := d.CheckLog(wal)
		if want = strings.ReplaceAll(want, "ROOT", root); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s with %q\n got %v\nwant %s", name, wal, err, want)
		}
		if after := tree(t, root); want != "" && !reflect.DeepEqual(before, after) {
			t.Errorf("%s with %q changed %q to %q", name, wal, before, after)
		}
	}
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(at(from), at(to)); err != nil {
			t.Fatal(err)
		}
	}
	create("n1", 1)
	create("n2", 2)
	check("n1", at("n1.wal"), "")
	check("n1", "", "")
	check("n1", at("n2.wal"), "ROOT/n2.wal: the log of this member is in ROOT/n1.wal/log: want --wal-dir=ROOT/n1.wal, or no such flag")

	// the disks of both are mounted in each other's place
	rename("n1.wal", "x")
	rename("n2.wal", "n1.wal")
	const swapped = `ROOT/n1.wal: has the log of member 2 ("n2") of cluster c, but ROOT/n1 holds member 1 ("n1") of cluster c: mount the right disk there, or start with the --data-dir of that member`
	check("n1", at("n1.wal"), swapped)
	check("n1", "", swapped)
	rename("n1.wal", "n2.wal")
	rename("x", "n1.wal")

	// an empty directory in the place of the log
	rename("n1.wal/log", "kept")
	if err := os.Mkdir(at("n1.wal/log"), 0o700); err != nil {
		t.Fatal(err)
	}
	check("n1", at("n1.wal"), "the log of this member is in ROOT/n1.wal/log, which cannot be used: it is empty: mount its disk, or, if the log was moved, change the link: ln -sfn ROOT/n1.wal/log ROOT/n1/member/log")
	if err := os.Remove(at("n1.wal/log")); err != nil {
		t.Fatal(err)
	}
	rename("kept", "n1.wal/log")

	// a copy of a data directory has the link to the same log
	if err := os.CopyFS(at("copy"), os.DirFS(at("n1"))); err != nil {
		t.Fatal(err)
	}
	running := mustOpen(t, at("n1"))
	if err := running.CheckLog(""); err != nil {
		t.Fatal(err)
	}
	inUse := fmt.Sprintf("ROOT/n1.wal: is in use by process %d: give each member its own --wal-dir", os.Getpid())
	check("copy", "", inUse)
	fresh := mustOpen(t, at("fresh"))
	if err := bootstrapWith(fresh, at("n1.wal")); err == nil || err.Error() != strings.ReplaceAll(inUse, "ROOT", root) {
		t.Errorf("a new member: %v, want %s", err, inUse)
	}
	mustClose(t, running)
	used := at("n1.wal") + ` is not empty: it has the log of member 1 ("n1") of cluster c, and ` + at("fresh") +
		" holds no member: give an empty directory for the log, or the --data-dir of that member"
	if err := bootstrapWith(fresh, at("n1.wal")); err == nil || err.Error() != used {
		t.Errorf("a new member\n got %v\nwant %s", err, used)
	}
	mustClose(t, fresh)

	// without FORMAT, as an earlier version left it
	if err := os.Remove(at("n1.wal/FORMAT")); err != nil {
		t.Fatal(err)
	}
	check("n1", "", "")
	if text, err := os.ReadFile(at("n1.wal/FORMAT")); err != nil || !strings.Contains(string(text), "member-id: 0000000000000001") {
		t.Errorf("FORMAT %q, %v", text, err)
	}
}

// TestLogInside gives directories that are below the member's.
func TestLogInside(t *testing.T) {
	path := t.TempDir()
	d := mustOpen(t, path)
	defer mustClose(t, d)
	for dir, want := range map[string]string{
		"": "", path + "/member": "", path + "/member/wal": "", path + "/wal": path + "/wal", "/elsewhere": "/elsewhere",
	} {
		if got, err := d.OutsideMember(dir); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", dir, got, err, want)
		}
	}
	write(t, path, "member/log/file=x")
	if err := d.CheckLog("/elsewhere"); err == nil || !strings.Contains(err.Error(), "the log of this member is in its data directory ("+path+"/member/log): start it without --wal-dir") {
		t.Errorf("a member whose log is in its data directory: %v", err)
	}
}
