package auth

import (
	"bytes"
	"fmt"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Kind is the kind of a command. The values are stored; never renumber them.
type Kind byte

// The kinds of commands. V2 or V3 in a name is the dialect: the other one behaves differently.
const (
	KindEnable  Kind = 1
	KindDisable Kind = 2

	KindUserDelete Kind = 3
	KindRoleDelete Kind = 4

	KindV2UserCreate Kind = 5 // refused when the user exists
	KindV2UserPut    Kind = 6 // changes the password when the user exists
	KindV2UserUpdate Kind = 7 // grants and revokes roles
	KindV2RoleCreate Kind = 8
	KindV2RoleUpdate Kind = 9 // grants and revokes patterns

	KindV3UserAdd      Kind = 10
	KindV3UserPassword Kind = 11
	KindV3UserGrant    Kind = 12
	KindV3UserRevoke   Kind = 13
	KindV3RoleAdd      Kind = 14
	KindV3RoleGrant    Kind = 15
	KindV3RoleRevoke   Kind = 16

	// KindLogin is proposed by a member that has verified a password. It changes nothing except
	// that it sets the key of simple tokens if there is none. Its result has the cluster time.
	KindLogin Kind = 17
)

// Command changes users, roles, or whether authentication is enabled. Fields that its kind does not
// use are ignored.
type Command struct {
	Kind Kind
	V2   bool   // for KindEnable, KindDisable and the deletes: the dialect of the request
	Name string // of the user or role
	// Hash is that of the new password; empty for no password, or to keep the current one. For
	// KindLogin it is the hash that the password was verified against.
	Hash string

	Role          string   // the role that v3 grants or revokes
	Roles         []string // roles of a new user of v2
	Grant, Revoke []string // roles granted to and revoked from a user of v2

	Read, Write             []string // patterns of a new role of v2, or granted to one
	RevokeRead, RevokeWrite []string

	Permission Permission // the permission that v3 grants, or the range that it revokes

	// MovesAlways makes the command increment the revision also when it changes nothing, and when
	// it enables authentication, as all commands of version 0.1.0 did. KindLogin ignores it: it
	// never increments the revision.
	MovesAlways bool

	// for KindLogin: the key to sign tokens with, if there is none yet; empty with JWT
	Key string
}

// Flags of a command.
const (
	flagV2 = 1 << iota
	// flagExact is set unless MovesAlways is. Version 0.1.0 does not support it.
	flagExact
)

// Append appends the command's bytes, as drawn in docs/formats/auth.md.
func (c *Command) Append(dst []byte) []byte {
	var flags byte
	if c.V2 {
		flags = flagV2
	}
	if !c.MovesAlways && c.Kind != KindLogin {
		flags |= flagExact
	}
	dst = codec.AppendText(append(dst, byte(c.Kind), flags), c.Name)
	dst = codec.AppendText(codec.AppendText(dst, c.Hash), c.Role)
	for _, list := range c.lists() {
		dst = codec.AppendOptionalTexts(dst, *list)
	}
	if c.Kind == KindV3RoleGrant || c.Kind == KindV3RoleRevoke {
		dst = c.Permission.append(dst)
	}
	if c.Kind == KindLogin {
		dst = codec.AppendText(dst, c.Key)
	}
	return dst
}

func (c *Command) lists() [7]*[]string {
	return [...]*[]string{&c.Roles, &c.Grant, &c.Revoke, &c.Read, &c.Write, &c.RevokeRead, &c.RevokeWrite}
}

// Decode is the inverse of Append. The result does not alias b.
func Decode(b []byte) (c Command, err error) {
	r := codec.NewReader(b)
	c.Kind = Kind(r.Byte())
	flags := r.Byte()
	if c.Kind < KindEnable || c.Kind > KindLogin || flags&^(flagV2|flagExact) != 0 {
		r.Fail("kind %d with flags %#x", c.Kind, flags)
	}
	c.MovesAlways = flags&flagExact == 0 && c.Kind != KindLogin
	c.V2, c.Name, c.Hash, c.Role = flags&flagV2 != 0, r.Text(), r.Text(), r.Text()
	for _, list := range c.lists() {
		*list = r.OptionalTexts()
	}
	if c.Kind == KindV3RoleGrant || c.Kind == KindV3RoleRevoke {
		c.Permission = takePermission(&r)
	}
	if c.Kind == KindLogin {
		c.Key = r.Text()
	}
	if err := r.End(); err != nil {
		return Command{}, fmt.Errorf("%w: command of kind %d: %w", ErrCorrupt, c.Kind, err)
	}
	return c, nil
}

// Result is the result of a command: the user or role as it is now.
type Result struct {
	User    *User
	Role    *Role
	Created bool

	// For KindLogin: the state that the login is valid for, and its time.
	State *State
	Time  kv.ClusterTime
}

// change executes one command: it writes the changes to the next state and to the batch.
type change struct {
	*Command
	next *State
	b    *storage.Batch
	// changed is set when a user or a role changed, or when authentication was disabled. Enabling
	// authentication does not set it.
	changed bool
}

// Apply makes the change of c in the batch that Begin started, or refuses it and changes nothing.
// now is the cluster time.
func (t *Table) Apply(b *storage.Batch, now kv.ClusterTime, c *Command) (Result, error) {
	if c.Kind == KindLogin {
		return t.login(b, now, c)
	}
	ch := change{Command: c, next: t.next.clone(), b: b}
	res, err := ch.run()
	if err != nil {
		return Result{}, err
	}
	switch {
	case ch.changed || c.MovesAlways:
		ch.next.Revision++
	case c.Kind != KindEnable:
		return res, nil
	}
	if c.Kind == KindEnable {
		ch.next.EnabledAt, ch.next.tokenKey = ch.next.Revision, nil
		b.Delete(tokenKeyKey())
	}
	b.Set(statusKey(), ch.next.append(nil))
	t.next = ch.next
	return res, nil
}

// login accepts a login as of this command, if the user still has the verified password. It does
// not increment the revision, since no permission changes.
func (t *Table) login(b *storage.Batch, now kv.ClusterTime, c *Command) (Result, error) {
	u := t.next.users[c.Name]
	switch {
	case !t.next.Enabled:
		return Result{}, &Refusal{Reason: NotEnabled, Name: c.Name}
	case u == nil || u.Hash == "" || u.Hash != c.Hash:
		return Result{}, &Refusal{Reason: OldRevision, Name: c.Name}
	}
	if t.next.tokenKey == nil && c.Key != "" {
		t.next = t.next.clone()
		t.next.tokenKey = []byte(c.Key)
		b.Set(tokenKeyKey(), t.next.tokenKey)
	}
	return Result{State: t.next, Time: now}, nil
}

func (c *change) run() (res Result, err error) {
	switch c.Kind {
	case KindEnable:
		err = c.enable()
	case KindDisable:
		if !c.next.Enabled {
			return res, c.refuse(NotEnabled, "")
		}
		c.next.Enabled, c.changed = false, true
	case KindUserDelete:
		err = c.deleteUser()
	case KindRoleDelete:
		err = c.deleteRole()
	case KindV2UserCreate, KindV2UserPut, KindV2UserUpdate:
		res.User, res.Created, err = c.v2User()
	case KindV2RoleCreate:
		res.Role, err = c.v2CreateRole()
	case KindV2RoleUpdate:
		res.Role, err = c.v2UpdateRole()
	case KindV3UserAdd, KindV3UserPassword, KindV3UserGrant, KindV3UserRevoke:
		err = c.v3User()
	default:
		err = c.v3Role()
	}
	return res, err
}

func (c *change) refuse(r Reason, what string) error {
	return &Refusal{Reason: r, Name: c.Name, What: what}
}

func (c *change) putUser(u *User) {
	record := u.append(nil)
	if old := c.next.users[u.Name]; old != nil && bytes.Equal(old.append(nil), record) {
		return
	}
	c.next.users[u.Name], c.changed = u, true
	c.b.Set(userKey(u.Name), record)
}

func (c *change) putRole(r *Role) {
	record := r.append(nil)
	if old := c.next.roles[r.Name]; old != nil && bytes.Equal(old.append(nil), record) {
		return
	}
	c.next.roles[r.Name], c.changed = r, true
	c.b.Set(roleKey(r.Name), record)
}

func (c *change) enable() error {
	root := c.next.users[RootName]
	switch {
	case c.next.Enabled:
		return c.refuse(AlreadyEnabled, "")
	case root == nil:
		return c.refuse(NoRootUser, "")
	case !c.V2 && !has(root.Roles, RootName):
		return c.refuse(NoRootRole, "")
	}
	// Only a client of v2 expects that guests keep their access.
	if c.V2 && c.next.roles[GuestRole] == nil {
		c.putRole(&Role{Name: GuestRole, Read: []string{"/*"}, Write: []string{"/*"}})
	}
	// v2's root always has the role root. v3 does not grant it implicitly, and without it no user
	// could disable authentication.
	if !has(root.Roles, RootName) {
		whole := *root
		whole.Roles = with(root.Roles, RootName)
		c.putUser(&whole)
	}
	c.next.Enabled = true
	return nil
}

func (c *change) deleteUser() error {
	switch {
	case c.next.Enabled && c.Name == RootName:
		return c.refuse(RootUserNeeded, "")
	case c.next.users[c.Name] == nil:
		return c.refuse(UserNotFound, "")
	}
	delete(c.next.users, c.Name)
	c.changed = true
	c.b.Delete(userKey(c.Name))
	return nil
}

// deleteRole removes a role; v3 also removes it from its users. In v2 the users have it again when
// it is created again.
func (c *change) deleteRole() error {
	switch {
	case c.V2 && c.Name == RootName:
		return c.refuse(RoleIsRoot, "")
	case c.next.Enabled && c.Name == RootName:
		return c.refuse(RootUserNeeded, "")
	case c.next.roles[c.Name] == nil:
		return c.refuse(RoleNotFound, "")
	}
	delete(c.next.roles, c.Name)
	c.changed = true
	c.b.Delete(roleKey(c.Name))
	if c.V2 {
		return nil
	}
	for _, name := range c.next.UserNames() {
		if u := c.next.users[name]; has(u.Roles, c.Name) {
			c.putUser(&User{Name: u.Name, Hash: u.Hash, Roles: without(u.Roles, c.Name)})
		}
	}
	return nil
}

// sameRange reports whether two ranges have the same bytes.
func sameRange(a, b kv.KeyRange) bool {
	return string(a.Key) == string(b.Key) && string(a.End) == string(b.End)
}
