// Package auth owns users, roles and permissions: one table for both dialects.
//
// It owns table a of the state store (docs/formats/auth.md), the commands that change it, what a
// user may read and write, the checking of passwords, and the tokens of v3: simple ones (ADR 0004)
// and JWT. It does not own how a request carries its credentials (v2http, v3rpc), nor which keys an
// operation touches (machine).
//
// A permission is a range of keys. What v2 grants as a pattern (/app/*, or one key) is the range of
// v3 that has the same keys, and a range of v3 that a pattern can express is kept as that pattern:
// so each dialect shows and revokes what the other has granted. The rest, ranges that no pattern
// expresses, v2 does not show; it obeys them. Who has the role root may do everything. The role
// guest is what a request of v2 without credentials may do; it is made when v2 turns authentication
// on, and not when v3 does. v3 knows no guests.
//
// Invariants: a State never changes once it is shown. The revision of the table moves by one with
// each command that changes a user or a role or turns authentication off, and with no other:
// neither with one that finds everything as it should be, nor with one that turns authentication
// on, nor with a login. No command moves the revision of the keys. What a user is allowed is
// decided as of one State.
//
// Concurrency: State and everything of Gate may be used by anyone; Begin, Apply and Publish belong
// to the applier.
package auth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"cairn/internal/storage"
)

// The names with a meaning.
const (
	RootName  = "root"  // of the user that must be there, and of the role that may do everything
	GuestRole = "guest" // of who comes to v2 without credentials
)

// ErrCorrupt is wrapped by the errors that tell of a record or command which no cairn of this
// version can have written.
var ErrCorrupt = errors.New("corrupt auth")

// User is one user. It is not changed once it can be seen by others.
type User struct {
	Name string
	Hash string // of the password, by bcrypt; empty: nobody can log in with a password
	// Roles are sorted once they have been granted; v2 gives them as it likes. They need not exist.
	// v2 tells nil from empty.
	Roles []string
}

// Role is what its users may do. It is not changed once it can be seen by others.
type Role struct {
	Name string
	// Read and Write are patterns of v2: a key, or what keys begin with and an asterisk. v2 tells
	// nil from empty.
	Read, Write []string
	// Ranges are the permissions that no pattern expresses.
	Ranges []Permission
}

// rootRole is the role root as v2 shows it.
func rootRole() *Role {
	return &Role{Name: RootName, Read: []string{"/*"}, Write: []string{"/*"}}
}

// State is the table as of one command.
type State struct {
	Enabled bool
	// Revision is that of the table, and EnabledAt the one at which authentication was last turned
	// on: what was given out before does not count any more.
	Revision, EnabledAt uint64

	users map[string]*User
	roles map[string]*Role
	// tokenKey signs simple tokens. It is made by the first login after authentication was turned
	// on, so that tokens from before are worth nothing.
	tokenKey []byte

	subjects sync.Map // by name of user: *Subject, made on demand
	guest    sync.Once
	guestIs  *Subject
}

func newState() *State {
	return &State{Revision: 1, users: map[string]*User{}, roles: map[string]*Role{}}
}

// clone returns a state that may be changed until it is shown.
func (s *State) clone() *State {
	return &State{
		Enabled: s.Enabled, Revision: s.Revision, EnabledAt: s.EnabledAt, users: maps.Clone(s.users), roles: maps.Clone(s.roles),
		tokenKey: s.tokenKey,
	}
}

// User returns a user, or nil.
func (s *State) User(name string) *User { return s.users[name] }

// Role returns a role that was made, or nil. For v2 there is also the role root, whether or not it
// was made; see RoleShown.
func (s *State) Role(name string) *Role { return s.roles[name] }

// RoleShown returns a role as v2 shows it, or nil.
func (s *State) RoleShown(name string) *Role {
	if name == RootName {
		return rootRole()
	}
	return s.roles[name]
}

// UserNames returns the users, sorted.
func (s *State) UserNames() []string { return slices.Sorted(maps.Keys(s.users)) }

// RoleNames returns the roles that were made, sorted.
func (s *State) RoleNames() []string { return slices.Sorted(maps.Keys(s.roles)) }

// Table is table a.
type Table struct {
	shown atomic.Pointer[State]

	next *State // after the batch that is being made
}

// Open reads the table.
func Open(db *storage.Store) (*Table, error) {
	t := &Table{}
	return t, t.Reload(db)
}

// Reload reads the table again, after the store was changed by other means than commands: a
// snapshot of another member. It belongs to the applier, between batches.
func (t *Table) Reload(db *storage.Store) (err error) {
	s := newState()
	it := db.NewIter([]byte{byte(storage.TableAuth)}, []byte{byte(storage.TableAuth) + 1})
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := s.read(it.Key(), it.Value()); err != nil {
			return fmt.Errorf("read users and roles: %w", err)
		}
	}
	t.shown.Store(s)
	return nil
}

// State returns the table as of the last committed batch.
func (t *Table) State() *State { return t.shown.Load() }

// Begin starts a batch.
func (t *Table) Begin() { t.next = t.State() }

// Next returns the table as the batch has made it so far.
func (t *Table) Next() *State { return t.next }

// Publish shows what the batch has changed, once it is committed.
func (t *Table) Publish() {
	if t.next != t.State() {
		t.shown.Store(t.next)
	}
}
