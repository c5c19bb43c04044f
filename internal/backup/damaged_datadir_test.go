package backup

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// filePlace is what each error about a damaged sstable has: the file and the offset in it.
var filePlace = regexp.MustCompile(`/state/\d{6}\.sst: the (block at|footer before) offset \d+ is damaged: [^\n]+$`)

// TestDamagedDataDir changes and truncates the sstables of a stopped member. The check of the
// directory fails and names the file and the offset, and leaves no copy behind.
func TestDamagedDataDir(t *testing.T) {
	entries := someEntries(60)
	dir := newMember(t, entries, len(entries))
	t.Setenv("TMPDIR", t.TempDir())
	check := func() error { _, err := Check(dir); return err }
	must(t, check())
	files, err := filepath.Glob(filepath.Join(dir, "member", "state", "*.sst"))
	must(t, err)
	if len(files) == 0 {
		t.Fatal("the member has no sstables")
	}
	for _, file := range files {
		whole, err := os.ReadFile(file)
		must(t, err)
		for _, at := range damagedPlaces(len(whole), 20) {
			changed := bytes.Clone(whole)
			changed[at] ^= 0x10
			for what, content := range map[string][]byte{"changed": changed, "cut": whole[:at]} {
				must(t, os.WriteFile(file, content, 0o600))
				err := check()
				if err == nil || !filePlace.MatchString(err.Error()) {
					t.Errorf("%s of %d bytes, %s at %d: %v", filepath.Base(file), len(whole), what, at, err)
				}
				if left, _ := filepath.Glob(filepath.Join(os.TempDir(), ".etcd*")); len(left) > 0 {
					t.Fatalf("%s, %s at %d: left are %s", file, what, at, strings.Join(left, ", "))
				}
			}
		}
		must(t, os.WriteFile(file, whole, 0o600))
	}
	must(t, check())
}
