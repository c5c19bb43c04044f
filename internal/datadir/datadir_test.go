package datadir

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var tutorial = Identity{0x8e9e05c52164694d, 0xcdf818194e3a8c32, "default", time.Date(2017, 4, 10, 11, 46, 44, 0, time.UTC)}

const tutorialText = `cairn data directory
format: 1
member-id: 8e9e05c52164694d
cluster-id: cdf818194e3a8c32
name: "default"
created: 2017-04-10T11:46:44Z
`

func mustOpen(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustClose(t *testing.T, d *Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// tree lists everything below a directory with its permissions.
func tree(t *testing.T, path string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(path, p)
		found = append(found, fmt.Sprintf("%v %s", info.Mode(), rel))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLife(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "default.etcd")
	if id, err := Inspect(path); id != nil || err != nil {
		t.Fatalf("before: %v, %v", id, err)
	}
	d := mustOpen(t, path)
	if d.Identity() != nil {
		t.Fatalf("a new directory has the identity %v", d.Identity())
	}
	local := tutorial
	local.Created = tutorial.Created.In(time.FixedZone("CST", 8*3600)).Add(300 * time.Millisecond)
	if err := d.Create(local); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(tutorial); err == nil || err.Error() != "data directory "+path+": holds member 8e9e05c52164694d already" {
		t.Errorf("a second Create: %v", err)
	}
	if got := d.Identity(); got == nil || *got != tutorial {
		t.Errorf("identity %v, want %v", got, tutorial)
	}
	text, err := os.ReadFile(filepath.Join(path, "member", "FORMAT"))
	if err != nil || string(text) != tutorialText {
		t.Errorf("FORMAT %q, %v", text, err)
	}
	want := []string{"drwx------ .", "drwx------ member", "-rw------- member/FORMAT", "-rw------- member/LOCK"}
	if got := tree(t, path); !reflect.DeepEqual(got, want) {
		t.Errorf("tree %q, want %q", got, want)
	}
	if d.LogDir() != path+"/member/log" || d.StateDir() != path+"/member/state" || d.Path() != path || d.LoosePermissions() != 0 {
		t.Errorf("log %s, state %s, path %s, permissions %v", d.LogDir(), d.StateDir(), d.Path(), d.LoosePermissions())
	}
	mustClose(t, d)

	d = mustOpen(t, path)
	defer mustClose(t, d)
	if got := d.Identity(); got == nil || *got != tutorial {
		t.Errorf("identity after a restart %v, want %v", got, tutorial)
	}
}

func TestSecondProcess(t *testing.T) {
	path := t.TempDir()
	d := mustOpen(t, path)
	want := fmt.Sprintf("data directory %s: is in use by process %d: stop that or give another --data-dir", path, os.Getpid())
	if _, err := Open(path); err == nil || err.Error() != want {
		t.Errorf("second Open: %v, want %s", err, want)
	}
	// The lock is the kernel's: other processes see it, and it ends with its holder's process.
	out, err := exec.Command("flock", "--nonblock", filepath.Join(path, "member", "LOCK"), "true").CombinedOutput()
	if _, missing := exec.LookPath("flock"); missing == nil && err == nil {
		t.Errorf("another process got the lock: %s", out)
	}
	mustClose(t, d)
	d = mustOpen(t, path)
	mustClose(t, d)
}

func TestRemnants(t *testing.T) {
	path := t.TempDir()
	write(t, path, "lost+found/", "member/LOCK", "member/FORMAT.new=cairn data dir")
	d := mustOpen(t, path)
	defer mustClose(t, d)
	if d.Identity() != nil {
		t.Errorf("half a FORMAT is accepted as an identity: %v", d.Identity())
	}
	if d.LoosePermissions() != 0o755 {
		t.Errorf("permissions %v, want 0755", d.LoosePermissions())
	}
	if err := d.Create(tutorial); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(path, "member", "FORMAT.new")); err == nil {
		t.Error("FORMAT.new is still there")
	}
}

// write makes files NAME=TEXT and directories NAME/.
func write(t *testing.T, path string, files ...string) {
	t.Helper()
	for _, f := range files {
		name, text, _ := strings.Cut(f, "=")
		full := filepath.Join(path, name)
		dir := filepath.Dir(full)
		if strings.HasSuffix(name, "/") {
			dir = full
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir != full {
			if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	const byEtcd = "data directory PATH: was written by etcd itself: take a snapshot of etcd (`etcdctl snapshot save FILE`), make a data directory of it (`etcdutl import FILE --data-dir DIR`), and start cairn with that"
	const byBoth = "data directory PATH: is cairn's, but etcd was started in it, too, and has its own keys there: to continue with cairn's keys, move "
	for _, c := range []struct {
		name  string
		files []string
		want  string
	}{
		{"etcd", []string{"member/snap/db=x", "member/wal/0.wal=x"}, byEtcd},
		{"etcd was started in it", []string{"member/wal/", "member/snap/db=x", "member/FORMAT=" + tutorialText}, byBoth + "member/snap and member/wal out of the directory"},
		{"etcd's proxy was started in it", []string{"proxy/cluster=x", "member/FORMAT=" + tutorialText}, byBoth + "proxy out of the directory"},
		{"etcd proxy", []string{"proxy/cluster=x"}, byEtcd},
		{"unknown", []string{"member/stuff=x"}, "data directory PATH: has member/stuff but no member/FORMAT, so it was not written by cairn or is damaged: give another --data-dir, or restore a backup"},
		{"stores without FORMAT", []string{"member/LOCK", "member/log/1=x"}, "data directory PATH: has member/log but no member/FORMAT, so it was not written by cairn or is damaged: give another --data-dir, or restore a backup"},
		{"newer", []string{"member/FORMAT=cairn data directory\nformat: 2\nwho knows"}, "data directory PATH: format 2 is newer than 1, the newest that this version of cairn reads: use the version that wrote it, or a later one"},
		{"damaged", []string{"member/FORMAT=" + tutorialText[:60]}, "data directory PATH: member/FORMAT is damaged: does not have its 6 lines: restore a backup"},
		{"member is a file", []string{"member=x"}, "data directory PATH/member: is not a directory: give another --data-dir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := t.TempDir()
			write(t, path, c.files...)
			before := tree(t, path)
			want := strings.ReplaceAll(c.want, "PATH", path)
			if _, err := Inspect(path); err == nil || err.Error() != want {
				t.Errorf("Inspect\n got %v\nwant %s", err, want)
			}
			if _, err := Open(path); err == nil || err.Error() != want {
				t.Errorf("Open\n got %v\nwant %s", err, want)
			}
			if after := tree(t, path); !reflect.DeepEqual(before, after) {
				t.Errorf("Open changed %q to %q", before, after)
			}
		})
	}
}

// TestCheckNotCairns refuses to read a directory of cairn as etcd's, even if etcd was started in
// it.
func TestCheckNotCairns(t *testing.T) {
	for _, c := range []struct {
		files []string
		want  string
	}{
		{[]string{"member/snap/db=x", "member/wal/"}, ""},
		{[]string{"other=x"}, ""},
		{[]string{"member/FORMAT=" + tutorialText}, "data directory PATH: was written by cairn, not by etcd: start cairn with it, or copy it with `etcdctl backup`"},
		{[]string{"member/snap/db=x", "member/FORMAT=" + tutorialText}, "data directory PATH: is cairn's, but etcd was started in it, too, and has its own keys there: " +
			"to continue with cairn's keys, move member/snap out of the directory"},
	} {
		path := t.TempDir()
		write(t, path, c.files...)
		got := ""
		if err := CheckNotCairns(path); err != nil {
			got = err.Error()
		}
		if want := strings.ReplaceAll(c.want, "PATH", path); got != want {
			t.Errorf("%q:\n got %s\nwant %s", c.files, got, want)
		}
	}
}

func TestNotADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file[:len(file)-5], "file=x")
	if _, err := Open(file); err == nil || err.Error() != "data directory "+file+": is not a directory: give another --data-dir" {
		t.Errorf("a file: %v", err)
	}
	below := filepath.Join(file, "below")
	if _, err := Open(below); err == nil || err.Error() != "data directory "+below+": is not a directory: give another --data-dir" {
		t.Errorf("below a file: %v", err)
	}
}

// TestNotWritable uses directories that even root cannot write to: /proc accepts no new entries.
func TestNotWritable(t *testing.T) {
	if os.Getuid() == 0 {
		if _, err := Open("/proc/cairn/data"); err == nil {
			t.Error("/proc accepted a data directory")
		}
		return
	}
	path := t.TempDir()
	if err := os.Chmod(path, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{path, path + "/a/b"} {
		want := "data directory " + dir + ": " + path + " cannot be written to: permission denied: give another --data-dir or the right to write there"
		if _, err := Open(dir); err == nil || err.Error() != want {
			t.Errorf("Open: %v, want %s", err, want)
		}
	}
}

func TestCreateRefusesNonsense(t *testing.T) {
	d := mustOpen(t, t.TempDir())
	defer mustClose(t, d)
	if err := d.Create(Identity{Name: "x"}); err == nil {
		t.Error("an identity without IDs was written")
	}
	if d.Identity() != nil {
		t.Error("and kept")
	}
}
