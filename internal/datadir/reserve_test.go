package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// errKilled is returned by every call of killedFiles after the process was killed.
var errKilled = errors.New("killed")

// killedFiles are files of a process that is killed before its left'th change of the file system.
type killedFiles struct {
	osFiles
	left int
}

func (k *killedFiles) change() error {
	if k.left--; k.left < 0 {
		return errKilled
	}
	return nil
}

func (k *killedFiles) WriteFile(path string, text []byte) error {
	if err := k.change(); err != nil {
		return err
	}
	// The content follows in a second change.
	if err := k.osFiles.WriteFile(path, nil); err != nil {
		return err
	}
	if err := k.change(); err != nil {
		return err
	}
	return k.osFiles.WriteFile(path, text)
}

func (k *killedFiles) MkdirAll(path string) error {
	if err := k.change(); err != nil {
		return err
	}
	return k.osFiles.MkdirAll(path)
}

func (k *killedFiles) RemoveAll(path string) error {
	if err := k.change(); err != nil {
		return err
	}
	return k.osFiles.RemoveAll(path)
}

func (k *killedFiles) Rename(from, to string) error {
	if err := k.change(); err != nil {
		return err
	}
	return k.osFiles.Rename(from, to)
}

// TestInterruptedReservation kills an import before each of its changes of the directory. A start
// afterwards is refused until the member is complete, unless the import had changed nothing yet.
func TestInterruptedReservation(t *testing.T) {
	for _, discard := range []bool{false, true} {
		refused, complete := 0, 0
		for left := 0; ; left++ {
			path := filepath.Join(t.TempDir(), "a", "data")
			files := &killedFiles{left: left}
			marked, err := interruptedImport(files, path, discard)
			id, inspected := Inspect(path)
			incomplete := new(IncompleteError)
			switch {
			case errors.As(inspected, &incomplete):
				if incomplete.Operation != Import || !marked {
					t.Errorf("discard %t, killed before change %d: %v", discard, left, inspected)
				}
				refused++
			case inspected != nil:
				t.Errorf("discard %t, killed before change %d: %v", discard, left, inspected)
			case id != nil:
				complete++
				checkStoresPlaced(t, path)
			case marked && !discard:
				t.Errorf("killed before change %d: the directory is taken for an empty one", left)
			}
			if err == nil {
				break
			}
		}
		if refused < 5 || !discard && complete < 3 || discard && complete > 0 {
			t.Errorf("discard %t: %d directories were refused, %d were complete", discard, refused, complete)
		}
	}
}

// interruptedImport makes a member, or discards it before its last step. marked reports whether the
// directory was marked as incomplete at any time.
func interruptedImport(files *killedFiles, path string, discard bool) (marked bool, err error) {
	d := &Dir{files: files, path: path}
	if err := d.make(); err != nil {
		return false, err
	}
	err = d.reserve(Import)
	if _, failed := os.Lstat(filepath.Join(d.MemberDir(), incompleteName)); failed == nil {
		marked = true
	}
	if err != nil {
		return marked, err
	}
	stores, err := d.NewStores()
	if err != nil {
		return marked, err
	}
	for _, name := range []string{logName, stateName} {
		if err := files.MkdirAll(filepath.Join(stores, name)); err != nil {
			return marked, err
		}
	}
	if discard {
		return marked, d.Discard()
	}
	return marked, d.Create(tutorial)
}

// checkStoresPlaced opens a complete directory, which must have both stores.
func checkStoresPlaced(t *testing.T, path string) {
	t.Helper()
	d := mustOpen(t, path)
	defer mustClose(t, d)
	for _, dir := range []string{d.LogDir(), d.StateDir()} {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(d.MemberDir(), incompleteName)); err != nil || len(left) > 0 {
		t.Errorf("%q, %v", left, err)
	}
}

// TestReserve: while an import runs, its directory is in use; afterwards, it must be removed.
func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "data")
	d, err := Reserve(path, Restore)
	if err != nil {
		t.Fatal(err)
	}
	inUse := fmt.Sprintf("data directory %s: is in use by process %d: stop that or give another --data-dir", path, os.Getpid())
	for _, open := range []func() error{
		func() error { _, err := Inspect(path); return err },
		func() error { _, err := Open(path); return err },
		func() error { _, err := Reserve(path, Import); return err },
	} {
		if err := open(); err == nil || err.Error() != inUse {
			t.Errorf("while it is made: %v, want %s", err, inUse)
		}
	}
	mustClose(t, d) // as if the process was killed
	want := fmt.Sprintf("data directory %s: a restore did not finish: remove %s and restore again", path, path)
	before := tree(t, path)
	if _, err := Open(path); err == nil || err.Error() != want {
		t.Errorf("after the process has ended: %v, want %s", err, want)
	}
	if err := CheckNotCairns(path); err == nil || err.Error() != want {
		t.Errorf("as a directory of etcd: %v, want %s", err, want)
	}
	if after := tree(t, path); !reflect.DeepEqual(before, after) {
		t.Errorf("Open changed %q to %q", before, after)
	}
}

// TestDiscard: nothing remains that Reserve has made, and a directory that existed before does.
func TestDiscard(t *testing.T) {
	parent := t.TempDir()
	existing := filepath.Join(parent, "existing")
	if err := os.Mkdir(existing, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{existing, filepath.Join(parent, "a", "b", "data")} {
		d, err := Reserve(path, Backup)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.NewStores(); err != nil {
			t.Fatal(err)
		}
		if err := d.Discard(); err != nil {
			t.Error(err)
		}
	}
	want := []string{"drwx------ existing"}
	if got := tree(t, parent)[1:]; !reflect.DeepEqual(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
}

// TestReserveOfMember: a member is neither reserved nor removed.
func TestReserveOfMember(t *testing.T) {
	path := t.TempDir()
	write(t, path, "member/FORMAT="+tutorialText, "member/log/", "member/state/")
	before := tree(t, path)
	if _, err := Reserve(path, Import); err == nil || !strings.Contains(err.Error(), "holds member 8e9e05c52164694d already") {
		t.Errorf("Reserve: %v", err)
	}
	write(t, path, "member/LOCK")
	if after := tree(t, path); len(after) != len(before)+1 {
		t.Errorf("Reserve changed %q to %q", before, after)
	}
}
