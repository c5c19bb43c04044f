package backup

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"cairn/internal/auth"
	"cairn/internal/etcdfile"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

// etcdVersions are the versions with files in testdata/etcd: snapshots that etcd wrote, and etcd's
// responses about the same store.
var etcdVersions = []string{"3.1.5", "3.4.23", "3.7.1"}

// expectedKey is a key as in etcd's response; a value above 300 bytes is replaced by its length.
type expectedKey struct {
	CreateRevision int64  `json:"create_revision"`
	ModRevision    int64  `json:"mod_revision"`
	Version        int64  `json:"version"`
	Lease          int64  `json:"lease"`
	Key            []byte `json:"key"`
	Value          string `json:"value"`
}

type expectedStore struct {
	At              map[string][]expectedKey `json:"at"`
	CompactRevision int64                    `json:"compact_revision"`
	Leases          json.RawMessage          `json:"leases"`
	Passwords       map[string]string        `json:"passwords"`
}

// etcdSnapshot returns an unpacked snapshot of testdata, which must not be changed, and its
// expected content.
func etcdSnapshot(t testing.TB, version string) (path string, want expectedStore) {
	t.Helper()
	path = fixtures.open(t, version+".snapshot.db.gz")
	text, err := os.ReadFile(filepath.Join("testdata", "etcd", version+".expected.json"))
	must(t, err)
	must(t, json.Unmarshal(text, &want))
	return path, want
}

// imported makes a data directory from a file of etcd and opens its state.
func imported(t testing.TB, path string) (*machine.Machine, Imported, string) {
	t.Helper()
	f, err := etcdfile.Open(path, true)
	must(t, err)
	to := target(filepath.Join(t.TempDir(), "imported"))
	found, err := Import(f, to, nil)
	must(t, errors.Join(err, f.Close()))
	_, m := content(t, to.Dir)
	return m, found, to.Dir
}

func TestImportHasWhatEtcdHad(t *testing.T) {
	for _, version := range etcdVersions {
		t.Run(version, func(t *testing.T) {
			path, want := etcdSnapshot(t, version)
			m, found, _ := imported(t, path)
			head := m.Keys().Head()
			if head.CompactRevision != want.CompactRevision || found.CompactRevision != want.CompactRevision {
				t.Errorf("compact revision %d, want %d", head.CompactRevision, want.CompactRevision)
			}
			compared := 0
			for at, keys := range want.At {
				revision, err := strconv.ParseInt(at, 10, 64)
				must(t, err)
				if revision > head.Revision {
					continue // written after the snapshot
				}
				compared++
				compareKeys(t, m, revision, keys)
			}
			if compared < 4 {
				t.Errorf("compared %d revisions", compared)
			}
			var c mvcc.Collector
			_, err := m.Keys().Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte{0}, End: []byte{0}}, Revision: head.CompactRevision - 1}, &c)
			if !errors.Is(err, mvcc.ErrCompacted) {
				t.Errorf("a revision before the compaction: %v, want ErrCompacted", err)
			}
			compareLeases(t, m, want)
			checkPasswords(t, m, want.Passwords)
			if !m.Auth().State().Enabled || !found.AuthEnabled {
				t.Error("authentication is disabled, was enabled")
			}
		})
	}
}

func compareKeys(t *testing.T, m *machine.Machine, revision int64, want []expectedKey) {
	t.Helper()
	var c mvcc.Collector
	op := &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte{0}, End: []byte{0}}, Revision: revision}
	sum, err := m.Keys().Range(op, &c)
	if err != nil || len(c.Keys) != len(want) || sum.Count != int64(len(want)) {
		t.Errorf("revision %d: %d keys, count %d, %v; want %d keys", revision, len(c.Keys), sum.Count, err, len(want))
		return
	}
	for i, w := range want {
		got := c.Keys[i]
		value := base64.StdEncoding.EncodeToString(got.Value)
		if strings.HasSuffix(w.Value, " characters of base64") {
			value = fmt.Sprintf("%d characters of base64", len(value))
		}
		if !bytes.Equal(got.Key, w.Key) || got.CreateRevision != w.CreateRevision || got.Mod.Main != w.ModRevision ||
			got.Version != w.Version || int64(got.Lease) != w.Lease || value != w.Value {
			t.Errorf("revision %d: key %q %+v, want %q %+v", revision, got.Key, got.Record, w.Key, w)
		}
	}
}

// compareLeases compares the leases and their keys, for versions whose etcd lists them (not 3.1.5).
func compareLeases(t *testing.T, m *machine.Machine, want expectedStore) {
	t.Helper()
	var listed []struct {
		ID         string   `json:"id"`
		GrantedTTL int64    `json:"granted_ttl"`
		Keys       [][]byte `json:"keys"`
	}
	got, err := lease.List(m.Keys().Reading())
	if err != nil || len(got) != 3 {
		t.Fatalf("leases %v, %v; want 3", got, err)
	}
	if json.Unmarshal(want.Leases, &listed) != nil {
		return
	}
	for _, w := range listed {
		id, err := strconv.ParseInt(w.ID, 16, 64)
		must(t, err)
		l, ok, err := lease.Get(m.Keys().Reading(), kv.LeaseID(id))
		if err != nil || !ok || l.TTL != w.GrantedTTL {
			t.Errorf("lease %x: %+v, %t, %v; want TTL %d", id, l, ok, err, w.GrantedTTL)
		}
		keys, err := lease.Keys(m.Keys().Reading(), kv.LeaseID(id))
		if err != nil || len(keys) != len(w.Keys) {
			t.Errorf("lease %x: keys %q, %v; want %q", id, keys, err, w.Keys)
		}
	}
}

// TestImportRefusesDamage changes and truncates a snapshot at many places: each is an error that
// names the file and the place, and leaves no directory.
func TestImportRefusesDamage(t *testing.T) {
	path, _ := etcdSnapshot(t, "3.7.1")
	whole, err := os.ReadFile(path)
	must(t, err)
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.db")
	try := func(what string, content []byte, check bool) error {
		must(t, os.WriteFile(bad, content, 0o600))
		to := target(filepath.Join(dir, "imported"))
		f, err := etcdfile.Open(bad, check)
		if err == nil {
			_, err = Import(f, to, nil)
			must(t, f.Close())
		}
		if err != nil && (!strings.Contains(err.Error(), bad) || check && !place.MatchString(err.Error())) {
			t.Errorf("%s: %v does not name the file and the place", what, err)
		}
		if _, there := os.Stat(to.Dir); there == nil {
			if err != nil {
				t.Errorf("%s: a directory is there after %v", what, err)
			}
			must(t, os.RemoveAll(to.Dir))
		}
		return err
	}
	for _, at := range damagedPlaces(len(whole), 40) {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x20
		if err := try(fmt.Sprint("byte ", at), damaged, true); !errors.Is(err, etcdfile.ErrCorrupt) {
			t.Errorf("byte %d changed: %v, want ErrCorrupt", at, err)
		}
		_ = try(fmt.Sprint("byte ", at, " unchecked"), damaged, false) // must not panic
		if err := try(fmt.Sprint("cut at ", at), whole[:at], true); err == nil {
			t.Errorf("cut at %d: no error", at)
		}
	}
}

// damagedPlaces returns places in a file of n bytes: some of them evenly spread or, with
// CAIRN_DAMAGED_PLACES, that many at random.
func damagedPlaces(n, some int) (places []int) {
	if many, err := strconv.Atoi(os.Getenv("CAIRN_DAMAGED_PLACES")); err == nil {
		for range many {
			places = append(places, rand.IntN(n))
		}
		return places
	}
	for at := 0; at < n; at += 1 + n/some {
		places = append(places, at)
	}
	return places
}

// TestExportIsWhatWasImported: an import, an export and an import of that have the same keys at
// every revision, the same leases, users and roles.
func TestExportIsWhatWasImported(t *testing.T) {
	for _, version := range etcdVersions {
		t.Run(version, func(t *testing.T) {
			path, want := etcdSnapshot(t, version)
			m, _, _ := imported(t, path)
			exported := filepath.Join(t.TempDir(), "exported.db")
			done, err := Export(m, exported, nil)
			must(t, err)
			again, _, _ := imported(t, exported)
			if done.Lost != 0 {
				t.Errorf("the export has lost %d", done.Lost)
			}
			before, after := m.Keys().Head(), again.Keys().Head()
			if before.Revision != after.Revision || before.CompactRevision != after.CompactRevision {
				t.Errorf("revision %d compacted at %d, was %d compacted at %d", after.Revision, after.CompactRevision, before.Revision, before.CompactRevision)
			}
			for revision := before.CompactRevision; revision <= before.Revision; revision++ {
				compareHashes(t, m, again, revision)
			}
			compareLeases(t, again, want)
			if a, b := m.Auth().State(), again.Auth().State(); a.Revision != b.Revision || a.Enabled != b.Enabled ||
				!reflect.DeepEqual(a.UserNames(), b.UserNames()) || !reflect.DeepEqual(a.RoleNames(), b.RoleNames()) {
				t.Errorf("users %q and roles %q, were %q and %q", b.UserNames(), b.RoleNames(), a.UserNames(), a.RoleNames())
			}
			for _, role := range m.Auth().State().RoleNames() {
				a, b := m.Auth().State().Role(role).Permissions(), again.Auth().State().Role(role).Permissions()
				if len(a) == 0 && role != auth.RootName || !reflect.DeepEqual(a, b) {
					t.Errorf("role %s: permissions %v, were %v", role, b, a)
				}
			}
		})
	}
}

func compareHashes(t *testing.T, a, b *machine.Machine, revision int64) {
	t.Helper()
	pause := func() error { return nil }
	x, err := a.Keys().Hash(revision, pause)
	must(t, err)
	y, err := b.Keys().Hash(revision, pause)
	must(t, err)
	if x != y {
		t.Errorf("revision %d: hash %+v, was %+v", revision, y, x)
	}
}
