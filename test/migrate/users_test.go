package migrate

import (
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/fleet"
	"cairn/test/harness"
)

const rootPassword = "root:rootpw"

// TestMigrationWithUsers: users, roles and passwords are there before any key can be read, and are
// taken again at the end.
func TestMigrationWithUsers(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.setUpUsers()
	root := client(t, w.old, "root", "rootpw")
	flags := []string{"--user", rootPassword, "--from-user", rootPassword}

	r := w.next.Run(t, w.command("migrate", "--from", w.old.URL()))
	if r.Exit == 0 || !strings.Contains(r.Stderr, "user name is empty") {
		t.Errorf("migration without credentials of the old cluster: exit status %d, %s", r.Exit, r.Stderr)
	}
	run := w.begin(flags...)
	harness.Await(t, "the new cluster follows", func() bool {
		r := w.next.Run(t, w.command("migrate", "status", "--user", rootPassword))
		return r.Exit == 0 && strings.Contains(r.Stdout, "phase: following")
	})
	reader := client(t, w.next, "reader", "old")
	harness.Await(t, "a user of the old cluster reads in the new one", func() bool {
		r, err := reader.Get(ctx, "/public/a")
		return err == nil && len(r.Kvs) == 1
	})
	if _, err := reader.Get(ctx, "/secret"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("read without a permission: %v", err)
	}
	if r := w.next.Run(t, w.command("migrate", "finish", "--from", w.old.URL(), "--from-user", rootPassword, "--user", "reader:old")); r.Exit == 0 ||
		!strings.Contains(r.Stderr, "permission denied") {
		t.Errorf("finish by a user without the role root: exit status %d, %s", r.Exit, r.Stderr)
	}
	// These changes come as no event.
	if _, err := root.UserChangePassword(ctx, "reader", "new"); err != nil {
		t.Fatal(err)
	}
	if _, err := root.UserAdd(ctx, "late", "latepw"); err != nil {
		t.Fatal(err)
	}
	if _, err := root.UserGrantRole(ctx, "late", "public"); err != nil {
		t.Fatal(err)
	}
	w.etcdctl(append([]string{"migrate", "finish", "--from", w.old.URL()}, flags...)...)
	<-run.Exited()
	for user, password := range map[string]string{"reader": "new", "late": "latepw"} {
		c := client(t, w.next, user, password)
		if r, err := c.Get(ctx, "/public/a"); err != nil || len(r.Kvs) != 1 {
			t.Errorf("user %s reads %+v, %v", user, r, err)
		}
		if _, err := c.Put(ctx, "/public/a", "x"); err == nil {
			t.Errorf("user %s writes without a permission", user)
		}
	}
	if _, err := client(t, w.next, "root", "rootpw").Put(ctx, "/public/a", "x"); err != nil {
		t.Errorf("root writes after the end: %v", err)
	}
}

func (w *world) setUpUsers() {
	w.t.Helper()
	ctx, c := w.t.Context(), w.from
	_, e1 := c.UserAdd(ctx, "root", "rootpw")
	_, e2 := c.UserGrantRole(ctx, "root", "root")
	_, e3 := c.RoleAdd(ctx, "public")
	_, e4 := c.RoleGrantPermission(ctx, "public", "/public/", clientv3.GetPrefixRangeEnd("/public/"), clientv3.PermissionType(clientv3.PermRead))
	_, e5 := c.UserAdd(ctx, "reader", "old")
	_, e6 := c.UserGrantRole(ctx, "reader", "public")
	_, e7 := c.Put(ctx, "/public/a", "1")
	_, e8 := c.Put(ctx, "/secret", "1")
	_, e9 := c.AuthEnable(ctx)
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7, e8, e9} {
		if err != nil {
			w.t.Fatalf("step %d: %v", i+1, err)
		}
	}
}

// TestMigrationToThreeMembers: a new cluster of three members loses its leader while it follows.
func TestMigrationToThreeMembers(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	f := fleet.New(fleet.Config{Program: harness.Etcd(t), Dir: t.TempDir()})
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := f.Bootstrap(ctx, 3); err != nil {
		t.Fatal(err)
	}
	var urls []string
	for _, m := range f.Members() {
		urls = append(urls, m.ClientURL())
	}
	endpoints := "--endpoints=" + strings.Join(urls, ",")
	for i := range 300 {
		if _, err := w.from.Put(ctx, "/k/"+string(rune('a'+i%26)), strings.Repeat("v", i)); err != nil {
			t.Fatal(err)
		}
	}
	run := w.begin(endpoints)
	follows := func() bool {
		r := w.next.Run(t, w.command("migrate", "status", "--from", w.old.URL(), endpoints))
		return r.Exit == 0 && strings.Contains(r.Stdout, "phase: following") && strings.Contains(r.Stdout, ", 0 behind")
	}
	harness.Await(t, "three members follow", follows)
	c, err := f.Connect(f.Members()...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	st, err := c.Status(ctx, urls[0])
	if err != nil {
		t.Fatal(err)
	}
	members := f.Members()
	leader := members[slices.IndexFunc(members, func(m *fleet.Member) bool { return m.ID() == st.Leader })]
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := leader.Start(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := w.from.Delete(ctx, "/k/a"); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "two members follow", follows)
	w.etcdctl("migrate", "finish", "--from", w.old.URL(), endpoints)
	<-run.Exited()
	if !strings.Contains(run.Output(), "The migration is finished") {
		t.Errorf("the program that followed ended with:\n%s", run.Output())
	}
	r, err := w.from.Get(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range f.Running() {
		own, err := f.Connect(m)
		if err != nil {
			t.Fatal(err)
		}
		sameKeys(t, w.from, own, r.Header.Revision)
		_ = own.Close()
	}
	if _, err := c.Put(ctx, "/k/new", "x"); err != nil {
		t.Errorf("write after the end: %v", err)
	}
}

// TestMigrationAfterCompaction: what the old cluster has compacted while no program followed is
// loaded again, and watchers that cannot continue get an error.
func TestMigrationAfterCompaction(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	write := func(n int) (revision int64) {
		for i := range n {
			r, err := w.from.Put(ctx, "k", string(rune('a'+i%26)))
			if err != nil {
				t.Fatal(err)
			}
			revision = r.Header.Revision
		}
		return revision
	}
	write(20)
	run := w.begin()
	w.awaitFollowing()
	watch := w.to.Watch(ctx, "k", clientv3.WithRev(15))
	if resp := <-watch; len(resp.Events) == 0 || resp.Events[0].Kv.ModRevision != 15 {
		t.Fatalf("watch from revision 15: %+v", resp)
	}
	run.Signal(9)
	<-run.Exited()
	at := write(20)
	if _, err := w.from.Compact(ctx, at-2); err != nil {
		t.Fatal(err)
	}
	second := w.begin()
	harness.Await(t, "the new cluster has the last write", func() bool {
		r, err := w.to.Get(ctx, "k")
		return err == nil && len(r.Kvs) == 1 && r.Kvs[0].ModRevision == at
	})
	if !strings.Contains(second.Output(), "loading a new snapshot") {
		t.Errorf("the program wrote:\n%s", second.Output())
	}
	for resp := range watch {
		if resp.CompactRevision > 0 {
			break
		}
		for _, e := range resp.Events {
			if e.Kv.ModRevision > 21 && e.Kv.ModRevision < at-2 {
				t.Errorf("event of revision %d, which was not taken", e.Kv.ModRevision)
			}
		}
	}
	sameKeys(t, w.from, w.to, at)
	w.etcdctl("migrate", "finish", "--from", w.old.URL())
	// A second migration, to a cluster that has content.
	if r := w.next.Run(t, w.command("migrate", "finish", "--from", w.old.URL())); r.Exit == 0 || !strings.Contains(r.Stderr, "phase finished") {
		t.Errorf("second finish: exit status %d, %s", r.Exit, r.Stderr)
	}
	other := harness.Start(t)
	if r := w.next.Run(t, w.command("migrate", "--from", other.URL())); r.Exit == 0 || !strings.Contains(r.Stderr, "takes over cluster") {
		t.Errorf("migration from another cluster: exit status %d, %s", r.Exit, r.Stderr)
	}
}
