package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

func openTable(t *testing.T, fs storage.FS) (*storage.Store, *Table) {
	t.Helper()
	db, err := storage.OpenState("state", storage.Options{FS: fs, MemTableBytes: 4 << 20, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	table, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return db, table
}

// apply applies commands, each encoded and decoded first.
func apply(t *testing.T, db *storage.Store, table *Table, commands ...Command) (err error) {
	t.Helper()
	b := db.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	table.Begin()
	for i := range commands {
		c, derr := Decode(commands[i].Append(nil))
		if derr != nil || !reflect.DeepEqual(c, commands[i]) {
			t.Fatalf("%+v comes back as %+v, %v", commands[i], c, derr)
		}
		before := table.Next()
		if _, aerr := table.Apply(b, 0, &c); aerr != nil {
			if err = aerr; table.Next() != before {
				t.Errorf("%+v was refused and has changed something", c)
			}
		} else if want := before.Revision + moves(before, table.Next()); table.Next().Revision != want {
			t.Errorf("%+v has moved the revision from %d to %d, want %d", c, before.Revision, table.Next().Revision, want)
		}
	}
	if cerr := b.Commit(false); cerr != nil {
		t.Fatal(cerr)
	}
	table.Publish()
	return err
}

// moves returns the increment of the revision between two states: 1 unless users and roles are the
// same and authentication was not disabled.
func moves(before, after *State) uint64 {
	if reflect.DeepEqual(before.users, after.users) && reflect.DeepEqual(before.roles, after.roles) && (after.Enabled || !before.Enabled) {
		return 0
	}
	return 1
}

// TestTwice runs each command twice: only the first one moves the revision, since the second is
// refused or changes nothing. Enabling authentication does not move it.
func TestTwice(t *testing.T) {
	db, table := openTable(t, storage.NewCrashableFS())
	defer db.Close() //nolint:errcheck // the test is over
	granted := perm("a", "b", Read)
	for _, c := range []struct {
		Command
		moves  uint64
		second error
	}{
		{Command{Kind: KindV3UserAdd, Name: RootName, Hash: "h"}, 1, UserExists},
		{Command{Kind: KindV3UserAdd, Name: "u", Hash: "h"}, 1, UserExists},
		{Command{Kind: KindV3UserPassword, Name: "u", Hash: "h2"}, 1, nil},
		{Command{Kind: KindV3RoleAdd, Name: RootName}, 1, RoleExists},
		{Command{Kind: KindV3RoleAdd, Name: "r"}, 1, RoleExists},
		{Command{Kind: KindV3UserGrant, Name: RootName, Role: RootName}, 1, nil},
		{Command{Kind: KindV3UserGrant, Name: "u", Role: "r"}, 1, nil},
		{Command{Kind: KindV3RoleGrant, Name: "r", Permission: granted}, 1, nil},
		{Command{Kind: KindV3RoleGrant, Name: "r", Permission: perm("/p/", "/p0", Write)}, 1, nil},
		{Command{Kind: KindEnable}, 0, AlreadyEnabled},
		{Command{Kind: KindLogin, Name: "u", Hash: "h2", Key: "k"}, 0, nil},
		{Command{Kind: KindV3RoleRevoke, Name: "r", Permission: granted}, 1, PermissionNotGranted},
		{Command{Kind: KindV3UserRevoke, Name: "u", Role: "r"}, 1, RoleNotGranted},
		{Command{Kind: KindDisable}, 1, NotEnabled},
		{Command{Kind: KindEnable, V2: true}, 1, AlreadyEnabled}, // creates the role guest
		{Command{Kind: KindUserDelete, Name: "u"}, 1, UserNotFound},
		{Command{Kind: KindRoleDelete, Name: "r"}, 1, RoleNotFound},
	} {
		before := table.State().Revision
		if err := apply(t, db, table, c.Command); err != nil {
			t.Fatalf("%+v: %v", c.Command, err)
		}
		if got := table.State().Revision; got != before+c.moves {
			t.Errorf("%+v: revision %d after %d, want %d", c.Command, got, before, before+c.moves)
		}
		before = table.State().Revision
		if err := apply(t, db, table, c.Command); !errors.Is(err, c.second) {
			t.Errorf("%+v, the second time: %v, want %v", c.Command, err, c.second)
		}
		if got := table.State().Revision; got != before {
			t.Errorf("%+v, the second time: revision %d after %d", c.Command, got, before)
		}
	}
	old := Command{Kind: KindV3RoleAdd, Name: "old", MovesAlways: true}
	twice := Command{Kind: KindV3UserGrant, Name: RootName, Role: RootName, MovesAlways: true}
	before := table.State().Revision
	if err := apply0(db, table, old, twice); err != nil || table.State().Revision != before+2 {
		t.Errorf("two commands of version 0.1.0: revision %d after %d, %v", table.State().Revision, before, err)
	}
}

// apply0 is apply without a check of the revision.
func apply0(db *storage.Store, table *Table, commands ...Command) error {
	b := db.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	table.Begin()
	for i := range commands {
		c, err := Decode(commands[i].Append(nil))
		if err == nil {
			_, err = table.Apply(b, 0, &c)
		}
		if err != nil {
			return err
		}
	}
	err := b.Commit(false)
	table.Publish()
	return err
}

func perm(key, end string, a Access) Permission {
	p := Permission{KeyRange: kv.KeyRange{Key: []byte(key)}, Access: a}
	if end != "" {
		p.End = []byte(end)
	}
	return p
}

// TestOneRoleForBothDialects grants by each dialect and reads by the other, also after the store is
// opened again.
func TestOneRoleForBothDialects(t *testing.T) {
	fs := storage.NewCrashableFS()
	db, table := openTable(t, fs)
	if err := apply(t, db, table,
		Command{Kind: KindV2RoleCreate, Name: "r", Read: []string{"/pub/*", "/a"}, Write: []string{}},
		Command{Kind: KindV3RoleGrant, Name: "r", Permission: perm("/a", "", ReadWrite)},
		Command{Kind: KindV3RoleGrant, Name: "r", Permission: perm("/x/", "/x0", Write)},
		Command{Kind: KindV3RoleGrant, Name: "r", Permission: perm("/odd*", "", Read)},
		Command{Kind: KindV3RoleGrant, Name: "r", Permission: perm("b", "d", Read)},
		Command{Kind: KindV3RoleGrant, Name: "r", Permission: perm("b", "d", Write)}, // instead
		Command{Kind: KindV2UserPut, Name: "u", Hash: "h"},
		Command{Kind: KindV2UserUpdate, Name: "u", Grant: []string{"r", "absent"}},
	); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Flush(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db, table = openTable(t, fs)
	defer db.Close() //nolint:errcheck // the test is over
	r := table.State().Role("r")
	if !slices.Equal(r.Read, []string{"/a", "/pub/*"}) || !slices.Equal(r.Write, []string{"/a", "/x/*"}) {
		t.Errorf("v2 shows read %q, write %q", r.Read, r.Write)
	}
	want := []Permission{perm("/a", "", ReadWrite), perm("/odd*", "", Read), perm("/pub/", "/pub0", Read), perm("/x/", "/x0", Write), perm("b", "d", Write)}
	if got := r.Permissions(); !reflect.DeepEqual(got, want) {
		t.Errorf("v3 shows %q", got)
	}
	if u := table.State().User("u"); u.Hash != "h" || !slices.Equal(u.Roles, []string{"absent", "r"}) {
		t.Errorf("user %+v", u)
	}
	if table.State().Revision != 9 {
		t.Errorf("revision %d", table.State().Revision)
	}
	for _, revoke := range []Permission{perm("/pub/", "/pub0", ReadWrite), perm("b", "d", ReadWrite)} {
		if err := apply(t, db, table, Command{Kind: KindV3RoleRevoke, Name: "r", Permission: revoke}); err != nil {
			t.Error(err)
		}
		if err := apply(t, db, table, Command{Kind: KindV3RoleRevoke, Name: "r", Permission: revoke}); !errors.Is(err, PermissionNotGranted) {
			t.Errorf("revoked twice: %v", err)
		}
	}
}

func TestRefusals(t *testing.T) {
	db, table := openTable(t, storage.NewCrashableFS())
	defer db.Close() //nolint:errcheck // the test is over
	for _, step := range []struct {
		c    Command
		want error
	}{
		{Command{Kind: KindEnable}, NoRootUser},
		{Command{Kind: KindV3UserAdd}, UserNameEmpty},
		{Command{Kind: KindV3UserAdd, Name: RootName, Hash: "h"}, nil},
		{Command{Kind: KindV3UserAdd, Name: RootName, Hash: "h"}, UserExists},
		{Command{Kind: KindEnable}, NoRootRole},
		{Command{Kind: KindV3UserGrant, Name: RootName, Role: "none"}, RoleNotFound},
		{Command{Kind: KindV3UserGrant, Name: RootName, Role: RootName}, nil},
		{Command{Kind: KindDisable}, NotEnabled},
		{Command{Kind: KindEnable}, nil},
		{Command{Kind: KindEnable, V2: true}, AlreadyEnabled},
		{Command{Kind: KindV3UserRevoke, Name: RootName, Role: RootName}, RootUserNeeded},
		{Command{Kind: KindUserDelete, V2: true, Name: RootName}, RootUserNeeded},
		{Command{Kind: KindRoleDelete, V2: true, Name: GuestRole}, RoleNotFound}, // v3 does not create one
		{Command{Kind: KindRoleDelete, V2: true, Name: RootName}, RoleIsRoot},
		{Command{Kind: KindV2UserPut, Name: "u"}, PasswordEmpty},
		{Command{Kind: KindV3RoleAdd, Name: "r"}, nil},
		{Command{Kind: KindV2RoleCreate, Name: "r"}, RoleExists},
		{Command{Kind: KindLogin, Name: RootName, Hash: "other"}, OldRevision},
		{Command{Kind: KindLogin, Name: "nobody", Hash: "h"}, OldRevision},
		{Command{Kind: KindV2RoleUpdate, Name: "r", Read: []string{"/a", "/a"}}, ReadGranted},
		{Command{Kind: KindV3UserAdd, Name: "u"}, nil},
		{Command{Kind: KindV3UserGrant, Name: "u", Role: "r"}, nil},
		{Command{Kind: KindV2UserUpdate, Name: "u", Grant: []string{"r"}}, RoleGranted},
		{Command{Kind: KindRoleDelete, Name: "r"}, nil},
		// removed together with the role
		{Command{Kind: KindV3UserRevoke, Name: "u", Role: "r"}, RoleNotGranted},
	} {
		if err := apply(t, db, table, step.c); !errors.Is(err, step.want) {
			t.Errorf("%+v: %v, want %v", step.c, err, step.want)
		}
	}
}

// TestSpans compares merged ranges with the original ranges, for all ranges over a small alphabet.
func TestSpans(t *testing.T) {
	points := []string{"a", "a\x00", "ab", "b", "b/", "b0", "c"}
	all := []kv.KeyRange{}
	for i, from := range points {
		all = append(all, kv.KeyRange{Key: []byte(from)}, kv.KeyRange{Key: []byte(from), End: []byte{0}})
		for _, to := range points[i+1:] {
			all = append(all, kv.KeyRange{Key: []byte(from), End: []byte(to)})
		}
	}
	// Every range below contains a key if and only if it contains one of these.
	keys := append(slices.Clone(points), "", "aa", "abc", "b/x", "bb", "zz")
	for _, x := range all {
		for _, y := range all {
			s := merge([]kv.KeyRange{x, y})
			for _, want := range all {
				holds := true
				for _, k := range keys {
					key := []byte(k)
					holds = holds && (!want.Contains(key) || x.Contains(key) || y.Contains(key))
				}
				if s.cover(want) && !holds {
					t.Fatalf("%q and %q are reported to cover %q", x, y, want)
				}
				one := merge([]kv.KeyRange{x}).cover(want) || merge([]kv.KeyRange{y}).cover(want)
				if one && !s.cover(want) {
					t.Fatalf("%q and %q do not cover %q, which one of them does", x, y, want)
				}
			}
		}
	}
	if s := merge([]kv.KeyRange{{Key: []byte("a"), End: []byte("b")}, {Key: []byte("b"), End: []byte("c")}}); !s.cover(kv.KeyRange{Key: []byte("a"), End: []byte("c")}) {
		t.Error("neighbours do not cover what they are together")
	}
}

// gate returns a gate with a user and its hash, and a clock.
func gate(t *testing.T) (db *storage.Store, table *Table, g *Gate, now *time.Time) {
	t.Helper()
	db, table = openTable(t, storage.NewCrashableFS())
	t.Cleanup(func() { _ = db.Close() })
	clock := time.Unix(1000, 0)
	g, err := NewGate(table, GateConfig{
		Cost: bcrypt.MinCost, TokenTTL: time.Minute, Slots: 1, Now: func() time.Time { return clock }, Rand: rand.Reader,
		ClusterTime: func() kv.ClusterTime { return kv.ClusterTime(clock.UnixNano()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := g.Hash(t.Context(), "pw")
	if err != nil {
		t.Fatal(err)
	}
	if err := apply(t, db, table,
		Command{Kind: KindV2UserPut, Name: RootName, Hash: hash}, Command{Kind: KindV3UserAdd, Name: "nopass"},
	); err != nil {
		t.Fatal(err)
	}
	return db, table, g, &clock
}

func TestPasswords(t *testing.T) {
	db, table, g, _ := gate(t)
	for range 2 { // the second time from the cache
		if err := g.Password(t.Context(), g.State(), RootName, "pw"); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range [][2]string{{RootName, "pW"}, {RootName, ""}, {"", "pw"}, {"nobody", "pw"}, {"nopass", ""}, {RootName, strings.Repeat("x", 73)}} {
		if err := g.Password(t.Context(), g.State(), bad[0], bad[1]); !errors.Is(err, BadPassword) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if len(g.verified) != 1 {
		t.Errorf("%d passwords are remembered, want the right one", len(g.verified))
	}
	// A command that changes a role does not affect the cache; one that changes the password
	// invalidates it.
	if err := apply(t, db, table, Command{Kind: KindV3RoleAdd, Name: "r"}); err != nil {
		t.Fatal(err)
	}
	if err := g.limiter.acquire(t.Context(), ""); err != nil { // blocks checks of other passwords
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Password(ctx, g.State(), RootName, "pw"); err != nil {
		t.Errorf("a remembered password is checked again: %v", err)
	}
	g.limiter.release()
	hash, _ := g.Hash(t.Context(), "other")
	if err := apply(t, db, table, Command{Kind: KindV3UserPassword, Name: RootName, Hash: hash}); err != nil {
		t.Fatal(err)
	}
	if err := g.Password(t.Context(), g.State(), RootName, "pw"); !errors.Is(err, BadPassword) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := g.Hash(t.Context(), strings.Repeat("x", 73)); !errors.Is(err, PasswordTooLong) {
		t.Errorf("a password of 73 bytes: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	c := Command{Kind: KindV3RoleGrant, Name: "r", Permission: perm("a", "b", Read)}
	f.Add(c.Append(nil))
	c = Command{Kind: KindLogin, Name: "u", Hash: "h", Key: "k"}
	f.Add(c.Append(nil))
	c = Command{Kind: KindV2UserPut, Name: "u", Hash: "h", Roles: []string{"x", ""}}
	f.Add(c.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(c.Append(nil))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v comes back as %+v, %v", c, again, err)
		}
	})
}

func BenchmarkPassword(b *testing.B) {
	table := &Table{}
	s := newState()
	hash, _ := bcrypt.GenerateFromPassword([]byte("pw"), bcrypt.DefaultCost)
	s.users["u"] = &User{Name: "u", Hash: string(hash)}
	table.show(s)
	g, err := NewGate(table, GateConfig{Slots: 1, Now: time.Now, Rand: rand.Reader})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := g.Password(b.Context(), s, "u", "pw"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestV2EnableKeepsRoot enables authentication through v2 after v3 has created the user root,
// without the role root: the simulation found that no user could disable it again.
func TestV2EnableKeepsRoot(t *testing.T) {
	db, table := openTable(t, storage.NewCrashableFS())
	defer db.Close() //nolint:errcheck // in memory
	if err := apply(t, db, table, Command{Kind: KindV3UserAdd, Name: RootName}, Command{Kind: KindEnable, V2: true, Name: ""}); err != nil {
		t.Fatal(err)
	}
	s := table.State()
	if who := s.Subject(&Actor{Name: RootName, Revision: s.Revision}); !s.Enabled || who == nil || !who.Root() {
		t.Fatalf("enabled: %t, root is %+v", s.Enabled, who)
	}
	if err := apply(t, db, table, Command{Kind: KindV3UserRevoke, Name: RootName, Role: RootName}); err == nil {
		t.Error("root lost its role while authentication is enabled")
	}
}
