package auth

import (
	"errors"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// TestIssue15619: etcd accepted permissions for empty ranges; merged with others they allowed too
// much, or caused a panic.
func TestIssue15619(t *testing.T) {
	db, table := openTable(t, storage.NewCrashableFS())
	defer db.Close() //nolint:errcheck // the test is over
	if err := apply(t, db, table, Command{Kind: KindV3RoleAdd, Name: "r"}, Command{Kind: KindV3UserAdd, Name: "u"},
		Command{Kind: KindV3UserGrant, Name: "u", Role: "r"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Permission{
		perm("", "", ReadWrite), perm("", "a", ReadWrite), perm("", "\x00", ReadWrite),
		perm("b", "b", ReadWrite), perm("b", "a", Read), perm("/x/", "/x", Write),
	} {
		if err := apply(t, db, table, Command{Kind: KindV3RoleGrant, Name: "r", Permission: p}); !errors.Is(err, PermissionEmpty) {
			t.Errorf("%q: %v", p, err)
		}
	}
	if may := table.State().subject([]string{"r"}); may.Root() || len(may.read)+len(may.write) > 0 {
		t.Errorf("empty ranges allow %+v", may)
	}
}

// TestSingleKeyIsNotTheRest: etcd let a user with permission for one key watch all keys from there
// to the end, because it confused a range without end with a range that ends before it begins.
func TestSingleKeyIsNotTheRest(t *testing.T) {
	for _, p := range []Permission{perm("k", "", ReadWrite), perm("k", "l", ReadWrite), perm("k", "k\x00", ReadWrite)} {
		s := newState()
		s.roles["r"] = &Role{Name: "r", Ranges: []Permission{p}}
		may := s.subject([]string{"r"})
		for _, r := range []kv.KeyRange{
			{Key: []byte("k"), End: []byte{0}},
			{Key: []byte{0}, End: []byte{0}},
			{Key: []byte("k"), End: []byte{0, 0}},
			{Key: []byte{}, End: []byte{0}},
			{Key: []byte("a"), End: []byte("z")},
			{Key: []byte("k"), End: []byte("m")},
		} {
			if r.Empty() {
				continue
			}
			if may.CanRead(r) || may.CanWrite(r) {
				t.Errorf("%q allows %q", p, r)
			}
		}
		if !may.CanRead(kv.KeyRange{Key: []byte("k")}) {
			t.Errorf("%q does not allow its key", p)
		}
	}
	// Without an end, the range extends to the end of the key space.
	s := newState()
	s.roles["r"] = &Role{Name: "r", Ranges: []Permission{perm("k", "\x00", Read)}}
	may := s.subject([]string{"r"})
	if !may.CanRead(kv.KeyRange{Key: []byte("z"), End: []byte{0}}) || may.CanRead(kv.KeyRange{Key: []byte("j"), End: []byte{0}}) {
		t.Error("a permission to the end is wrong")
	}
}
