package backup

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
	"cairn/internal/raftlog"
	"cairn/internal/storage"
)

// restarted is a member that was killed twice: its log store has sstables and a manifest of several
// records, its state store lacks the newest entries.
func restarted(t *testing.T) string {
	t.Helper()
	entries := someEntries(60)
	first, applied := len(entries)/2, len(entries)-20
	dir := newMember(t, entries[:first], first-10)
	logDir, stateDir := filepath.Join(dir, "member", "log"), filepath.Join(dir, "member", "state")
	state, err := storage.OpenState(stateDir, storage.Options{})
	must(t, err)
	logStore, err := storage.OpenLog(logDir, storage.Options{})
	must(t, err)
	m, err := machine.Open(state)
	must(t, err)
	log, err := raftlog.Open(logStore, m.AppliedIndex(), m.ConfState())
	must(t, err)
	last := len(entries) - 5
	must(t, log.Append([]*raftpb.Message{{Entries: entries[first:last], Responses: []*raftpb.Message{{}}}}))
	_, err = m.Apply(entries[first-10:applied], 0)
	must(t, errors.Join(err, m.Flush(), m.Close(), state.Close(), logStore.Close()))
	logStore, err = storage.OpenLog(logDir, storage.Options{})
	must(t, err)
	log, err = raftlog.Open(logStore, 1, &raftpb.ConfState{})
	must(t, err)
	for i := last; i < len(entries); i++ {
		must(t, log.Append([]*raftpb.Message{{Entries: entries[i : i+1], Responses: []*raftpb.Message{{}}}}))
	}
	must(t, logStore.Close())
	return dir
}

// checkedContent returns what a data directory has, if its check finds no damage.
func checkedContent(dir string) (content string, err error) {
	c, err := openContent(dir, storage.Verify)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if _, err := c.s.machine.Verify(); err != nil {
		return "", err
	}
	var b strings.Builder
	it := c.s.state.NewIter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		fmt.Fprintf(&b, "%q=%q\n", it.Key(), it.Value())
	}
	last, lastErr := c.s.log.LastIndex()
	fmt.Fprintln(&b, last)
	return b.String(), errors.Join(it.Close(), lastErr)
}

// harmless are the files that may be damaged without an error of the check, with the reason. The
// test compares the content then.
var harmless = map[string]string{
	"FORMAT":    "its names, times and the cluster's ID have no checksum, and the state does not have them",
	"LOCK":      "holds a process ID for messages",
	"OPTIONS-":  "pebble's options, of which a store uses none",
	"marker.":   "its name counts, it has no content",
	".log":      "pebble's own log, which is not used",
	"MANIFEST-": "a last record that cannot be read is torn: the log has what older files lack. Or a newer one is in use",
	".journal":  "zeros behind the last record, or a file without records",
}

func isHarmless(file string) bool {
	for part := range harmless {
		if strings.Contains(file, part) {
			return true
		}
	}
	return false
}

// TestDamagedDataDir changes, truncates and removes each file of a stopped member. The check of the
// directory fails and names the file and the place, or finds the same content as before. It changes
// nothing in the directory, and leaves no copy behind.
func TestDamagedDataDir(t *testing.T) {
	dir := restarted(t)
	t.Setenv("TMPDIR", t.TempDir())
	before := treeOf(t, dir)
	want, err := checkedContent(dir)
	must(t, err)
	if after := treeOf(t, dir); !slices.Equal(after, before) {
		t.Errorf("the check changed the directory from %q to %q", before, after)
	}
	for _, name := range before {
		file, _, _ := strings.Cut(name, " ")
		file = filepath.Join(dir, file)
		whole, err := os.ReadFile(file)
		must(t, err)
		written := len(bytes.TrimRight(whole, "\x00"))
		if filepath.Ext(file) == ".journal" {
			// A changed last record is torn. The marker of the file is in the head of each record.
			written = bytes.LastIndex(whole, whole[16:24]) - 9
		}
		isTable := filepath.Ext(file) == ".sst" || filepath.Ext(file) == ".blob"
		refusedPlaces, harmlessPlaces := 0, 0
		try := func(what string, damage func() error) {
			must(t, damage())
			got, err := checkedContent(dir)
			switch {
			case err == nil && got == want && isHarmless(filepath.Base(file)):
				harmlessPlaces++
			case err == nil:
				t.Errorf("%s, %s: no damage was found; the content is the same: %t", file, what, got == want)
			case !namesPlace(err.Error(), dir, file), isTable && what != "removed" && !tablePlace.MatchString(err.Error()):
				t.Errorf("%s, %s: the error does not have the file and the place: %v", file, what, err)
			case !strings.Contains(err.Error(), "restore a backup") && !isHarmless(filepath.Base(file)):
				t.Errorf("%s, %s: the error has no way out: %v", file, what, err)
			default:
				refusedPlaces++
			}
			if left, _ := filepath.Glob(filepath.Join(os.TempDir(), ".etcd*")); len(left) > 0 {
				t.Fatalf("%s, %s: left are %s", file, what, strings.Join(left, ", "))
			}
		}
		some := 2
		if isTable {
			some = 20
		}
		places := damagedPlaces(written+1, some)
		for _, at := range places[:min(len(places), 100)] {
			if at == len(whole) {
				continue // nothing would be cut
			}
			changed := bytes.Clone(whole)
			changed[at] ^= 0x10
			try(fmt.Sprint("changed at ", at), func() error { return os.WriteFile(file, changed, 0o600) })
			try(fmt.Sprint("cut at ", at), func() error { return os.WriteFile(file, whole[:at], 0o600) })
		}
		try("removed", func() error { return os.Remove(file) })
		must(t, os.WriteFile(file, whole, 0o600))
		t.Logf("%s, %d bytes: refused %d, harmless %d", strings.TrimPrefix(file, dir), written, refusedPlaces, harmlessPlaces)
	}
	got, err := checkedContent(dir)
	must(t, err)
	if got != want {
		t.Error("the restored files have other content")
	}
}

// damagePlace is what each error about a damaged file has: the place in it, or what is missing.
var damagePlace = regexp.MustCompile(`offset \d+|byte \d+|line \d+|its head|its 6 lines|not as it was written|format \d+ is newer|` +
	`not exist|no such file|no manifest|no member/FORMAT|not needed|not pristine|read position`)

// tablePlace is what each error about a damaged sstable or blob file has: the file and the offset.
var tablePlace = regexp.MustCompile(`/(log|state)/\d{6}\.(sst|blob): the (block at|footer before) offset \d+ is damaged: [^\n]+$`)

// namesPlace reports whether an error has the damaged file, or its directory, and the place.
func namesPlace(text, dir, file string) bool {
	name, err := filepath.Rel(dir, file)
	return err == nil && damagePlace.MatchString(text) && (strings.Contains(text, name) || strings.Contains(text, filepath.Dir(file)))
}

// TestCheckFindsLostCommits removes the last record of the log store's manifest, as a crash could.
// The sstable that it lists has entries which neither the journal nor the state has any longer.
func TestCheckFindsLostCommits(t *testing.T) {
	entries := someEntries(60)
	dir := newMember(t, entries[:30], 5)
	logDir := filepath.Join(dir, "member", "log")
	logStore, err := storage.OpenLog(logDir, storage.Options{Still: true})
	must(t, err)
	log, err := raftlog.Open(logStore, 1, &raftpb.ConfState{})
	must(t, err)
	must(t, log.Append([]*raftpb.Message{{Entries: entries[30:], Responses: []*raftpb.Message{{}}}}))
	must(t, logStore.Close())
	logStore, err = storage.OpenLog(logDir, storage.Options{Still: true})
	must(t, errors.Join(err, logStore.Close()))
	manifests, err := filepath.Glob(filepath.Join(logDir, "MANIFEST-*"))
	must(t, err)
	newest := slices.Max(manifests)
	info, err := os.Stat(newest)
	must(t, err)
	must(t, os.Truncate(newest, info.Size()-1))
	_, err = Check(dir)
	if err == nil || !regexp.MustCompile(`/member/log/\d{6}\.sst: has commit \d, and is not listed`).MatchString(err.Error()) {
		t.Errorf("check: %v, want an error about an sstable that is not listed", err)
	}
}

// TestCheckIgnoresRemains: a crash leaves incomplete files that the stores do not use.
func TestCheckIgnoresRemains(t *testing.T) {
	entries := someEntries(10)
	dir := newMember(t, entries, len(entries))
	for _, name := range []string{"log/009999.sst", "state/009998.sst", "state/009997.blob"} {
		must(t, os.WriteFile(filepath.Join(dir, "member", name), []byte("half of a file"), 0o600))
	}
	_, err := Check(dir)
	must(t, err)
}

// treeOf returns the files below a directory with the checksums of their content.
func treeOf(t *testing.T, dir string) (files []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files = append(files, fmt.Sprintf("%s %08x", name, crc32.ChecksumIEEE(content)))
		return err
	}))
	return files
}
