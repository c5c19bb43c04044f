package migrate

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

const debianEtcdctl = "/usr/bin/etcdctl"

// TestRoundTripOfFiles imports a snapshot of Debian's etcd into cairn, exports it, and restores the
// export with Debian's etcdctl: all three clusters have the same keys at every revision, the same
// leases, users and roles, and the first and the last one the same hash.
func TestRoundTripOfFiles(t *testing.T) {
	harness.Needs(t, debianEtcdctl, "etcd-client")
	w := newWorld(t)
	keys := scaleOf().keys
	if keys > 10_000 {
		keys = 200_000
	}
	w.fill(keys, rand.New(rand.NewPCG(1, 2)))
	w.setUpUsers()
	w.from = client(t, w.old, "root", "rootpw")
	dir := t.TempDir()
	first, exported := filepath.Join(dir, "first.db"), filepath.Join(dir, "exported.db")
	w.must(w.old, debianEtcdctl, "--user", rootPassword, "snapshot", "save", first)

	etcdutl := harness.Etcdutl(t)
	w.replaceData(w.next, etcdutl, "import", first, "--data-dir", w.next.DataDir())
	w.to = client(t, w.next, "root", "rootpw")
	w.comparesHistory()
	w.comparesUsers()
	w.comparesLeases()
	// the keys at the compaction and every event behind it are the keys at every revision
	sameKeys(t, w.from, w.to, w.compactRevision())
	w.next.Stop()

	w.must(w.next, etcdutl, "export", w.next.DataDir(), "--output", exported)
	last := harness.StartOther(t, debianEtcd)
	w.replaceData(last, debianEtcdctl, "snapshot", "restore", exported, "--data-dir", last.DataDir())
	w.to = client(t, last, "root", "rootpw")
	w.comparesHistory()
	w.comparesUsers()
	w.comparesLeases()
	if a, b := w.hash(w.old), w.hash(last); a != b {
		t.Errorf("hash of the keys at the end %+v, at the beginning %+v", b, a)
	}
}

// must runs a program beside a server, which must succeed, and returns its output. etcdctl's
// endpoint is the server.
func (w *world) must(s *harness.Server, args ...string) string {
	w.t.Helper()
	r := s.Run(w.t, harness.Command{Args: args, Env: []string{"ETCDCTL_API=3", "TMPDIR=" + w.t.TempDir()}})
	if r.Exit != 0 {
		w.t.Fatalf("%s: exit status %d\n%s%s", strings.Join(args, " "), r.Exit, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// replaceData stops a server, makes its data directory with a program, and starts it again.
func (w *world) replaceData(s *harness.Server, args ...string) {
	w.t.Helper()
	s.Stop()
	if err := os.RemoveAll(s.DataDir()); err != nil {
		w.t.Fatal(err)
	}
	w.must(s, args...)
	s.Restart()
}

// keyHash is a member's hash of its keys, with the revisions that it covers.
type keyHash struct{ Hash, Revision, CompactRevision json.Number }

// hash returns the hash that Debian's etcd computes of its keys.
func (w *world) hash(s *harness.Server) (h keyHash) {
	w.t.Helper()
	out := w.must(s, debianEtcdctl, "--user", rootPassword, "endpoint", "hashkv", "-w", "json")
	var responses []struct {
		HashKV struct {
			Hash            json.Number
			CompactRevision json.Number `json:"compact_revision"`
			Header          struct{ Revision json.Number }
		}
	}
	if err := json.Unmarshal([]byte(out), &responses); err != nil || len(responses) != 1 || responses[0].HashKV.Hash == "" {
		w.t.Fatalf("endpoint hashkv: %s, %v", out, err)
	}
	k := responses[0].HashKV
	return keyHash{k.Hash, k.Header.Revision, k.CompactRevision}
}

// comparesUsers compares users, their roles, and the permissions of the roles.
func (w *world) comparesUsers() {
	w.t.Helper()
	if was, is := w.usersOf(w.from), w.usersOf(w.to); len(was) < 2 || !reflect.DeepEqual(was, is) {
		w.t.Errorf("users and roles %v, want %v", is, was)
	}
	reader, err := clientv3.New(clientv3.Config{Endpoints: w.to.Endpoints(), Username: "reader", Password: "old"})
	if err != nil {
		w.t.Fatalf("reader logs in: %v", err)
	}
	defer reader.Close()
	if r, err := reader.Get(w.t.Context(), "/public/a"); err != nil || len(r.Kvs) != 1 {
		w.t.Errorf("reader reads %v, %v", r, err)
	}
	if _, err := reader.Get(w.t.Context(), "/secret"); err == nil {
		w.t.Error("reader reads a key without a permission")
	}
}

// usersOf returns the roles of each user and the permissions of each role.
func (w *world) usersOf(c *clientv3.Client) map[string][]string {
	w.t.Helper()
	ctx, all := w.t.Context(), map[string][]string{}
	users, err := c.UserList(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range users.Users {
		u, err := c.UserGet(ctx, name)
		if err != nil {
			w.t.Fatal(err)
		}
		all["user "+name] = u.Roles
	}
	roles, err := c.RoleList(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range roles.Roles {
		if name == "root" {
			continue // etcd lists no permissions of it
		}
		r, err := c.RoleGet(ctx, name)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, p := range r.Perm {
			all["role "+name] = append(all["role "+name], p.String())
		}
	}
	return all
}

// comparesLeases compares the leases and their keys.
func (w *world) comparesLeases() {
	w.t.Helper()
	ctx := w.t.Context()
	leases, err := w.from.Leases(ctx)
	if err != nil || len(leases.Leases) == 0 {
		w.t.Fatalf("leases %v, %v", leases, err)
	}
	there, err := w.to.Leases(ctx)
	if err != nil || len(there.Leases) != len(leases.Leases) {
		w.t.Errorf("%d leases, %v; want %d", len(there.Leases), err, len(leases.Leases))
	}
	for _, l := range leases.Leases {
		was, err := w.from.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			w.t.Fatal(err)
		}
		is, err := w.to.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			w.t.Fatal(err)
		}
		if is.GrantedTTL != was.GrantedTTL || is.TTL > is.GrantedTTL || is.TTL < was.TTL-600 || !sameSet(is.Keys, was.Keys) {
			w.t.Errorf("lease %x: TTL %d, %d left, %d keys; want %d, about %d, %d", l.ID, is.GrantedTTL, is.TTL, len(is.Keys), was.GrantedTTL, was.TTL, len(was.Keys))
		}
	}
}

func sameSet(a, b [][]byte) bool {
	in := map[string]bool{}
	for _, k := range a {
		in[string(k)] = true
	}
	for _, k := range b {
		if !in[string(k)] {
			return false
		}
	}
	return len(a) == len(b)
}
