// Package auth owns users, roles and permissions: one table for both dialects.
//
// It owns table a of the state store (docs/formats/auth.md), the commands that change it, the
// authorization of reads and writes, the checking of passwords, and the tokens of v3: simple ones
// (ADR 0004) and JWT. It does not own how a request carries its credentials (v2http, v3rpc), nor
// which keys an operation touches (machine).
//
// A permission is a range of keys. A v2 pattern (/app/*, or one key) is the v3 range that has
// the same keys, and a range of v3 that a pattern can express is stored as that
// pattern: so each dialect shows and revokes what the other has granted. v2 does not show ranges
// that no pattern expresses, but it obeys them. The role root permits everything. The role guest
// has the permissions of v2 requests without credentials; it is created when v2 enables
// authentication, and not when v3 does. v3 has no guests.
//
// Invariants: a State never changes once it is published (Table.show). The revision of the table
// increases by one with each command that changes a user or a role or disables authentication, and
// with no other: not with a command that changes nothing, not when authentication is enabled, and
// not with a login (TestTwice). No command moves the revision of the keys (package machine checks
// it). A request is authorized against one State.
//
// Concurrency: State and all methods of Gate may be called from any goroutine; Begin, Apply and
// Publish belong to the applier.
package auth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"cairn/internal/invariant"
	"cairn/internal/storage"
)

// Names with a meaning.
const (
	RootName  = "root"  // the user that must exist, and the role that permits everything
	GuestRole = "guest" // of v2 requests without credentials
)

// ErrCorrupt is wrapped by the errors about a record or command that no cairn of this version can
// have written.
var ErrCorrupt = errors.New("corrupt auth")

// User is one user. It is immutable once it is published.
type User struct {
	Name string
	Hash string // bcrypt hash of the password; empty: no log-in with a password
	// Roles is sorted after the first grant; before, it has v2's order. The roles need not exist.
	// v2 distinguishes nil from empty.
	Roles []string
}

// Role is a set of permissions. It is immutable once it is published.
type Role struct {
	Name string
	// Read and Write are patterns of v2: a key, or a prefix and an asterisk. v2 distinguishes nil
	// from empty.
	Read, Write []string
	// Ranges has the permissions that no pattern expresses.
	Ranges []Permission
}

// rootRole is the role root as v2 shows it.
func rootRole() *Role {
	return &Role{Name: RootName, Read: []string{"/*"}, Write: []string{"/*"}}
}

// State is the table of users and roles after one command.
type State struct {
	Enabled bool
	// Revision is that of the table, and EnabledAt the revision at which authentication was last
	// enabled: tokens from before are invalid.
	Revision, EnabledAt uint64

	users map[string]*User
	roles map[string]*Role
	// tokenKey signs simple tokens. The first login after authentication was enabled sets it, which
	// makes older tokens invalid.
	tokenKey []byte

	subjects sync.Map // user name → *Subject, filled on demand
	guest    sync.Once
	guestIs  *Subject
}

func newState() *State {
	return &State{Revision: 1, users: map[string]*User{}, roles: map[string]*Role{}}
}

// clone returns a copy that may be modified until it is published.
func (s *State) clone() *State {
	return &State{
		Enabled: s.Enabled, Revision: s.Revision, EnabledAt: s.EnabledAt, users: maps.Clone(s.users), roles: maps.Clone(s.roles),
		tokenKey: s.tokenKey,
	}
}

// User returns a user, or nil.
func (s *State) User(name string) *User { return s.users[name] }

// Role returns a stored role, or nil. v2 also has the role root, stored or not; see RoleShown.
func (s *State) Role(name string) *Role { return s.roles[name] }

// RoleShown returns a role as v2 shows it, or nil.
func (s *State) RoleShown(name string) *Role {
	if name == RootName {
		return rootRole()
	}
	return s.roles[name]
}

// UserNames returns the names of the users, sorted.
func (s *State) UserNames() []string { return slices.Sorted(maps.Keys(s.users)) }

// RoleNames returns the names of the stored roles, sorted.
func (s *State) RoleNames() []string { return slices.Sorted(maps.Keys(s.roles)) }

// Table is table a.
type Table struct {
	shown atomic.Pointer[State]

	next *State // as of the open batch
	// fingerprint is the content of the shown state when it was published, in builds with the tag
	// invariants.
	fingerprint string
}

// Open reads the table.
func Open(db *storage.Store) (*Table, error) {
	t := &Table{}
	return t, t.Reload(db)
}

// Reload reads the table again, after a snapshot of another member replaced the store. It belongs
// to the applier, between batches.
func (t *Table) Reload(db *storage.Store) (err error) {
	s := newState()
	it := db.NewIter([]byte{byte(storage.TableAuth)}, []byte{byte(storage.TableAuth) + 1})
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := s.read(it.Key(), it.Value()); err != nil {
			return fmt.Errorf("read users and roles: %w", err)
		}
	}
	t.show(s)
	return nil
}

// show makes a state visible. In builds with the tag invariants it checks that the state before it
// has not changed meanwhile.
func (t *Table) show(s *State) {
	if invariant.Enabled {
		if old := t.shown.Load(); old != nil && old.fingerprint() != t.fingerprint {
			invariant.Violated("users and roles of revision %d have changed after they were shown", old.Revision)
		}
		t.fingerprint = s.fingerprint()
	}
	t.shown.Store(s)
}

// State returns the table as of the last committed batch.
func (t *Table) State() *State { return t.shown.Load() }

// Begin starts a batch.
func (t *Table) Begin() { t.next = t.State() }

// Next returns the table as of the open batch.
func (t *Table) Next() *State { return t.next }

// Publish makes the changes of a committed batch visible to State.
func (t *Table) Publish() {
	if t.next != t.State() {
		t.show(t.next)
	}
}
