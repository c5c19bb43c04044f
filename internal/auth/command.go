package auth

import (
	"bytes"
	"fmt"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Kind says what a command asks for. The values are stored; never renumber them.
type Kind byte

// The kinds of commands. Those with a V are of one dialect, since the other does not do the same.
const (
	KindEnable  Kind = 1
	KindDisable Kind = 2

	KindUserDelete Kind = 3
	KindRoleDelete Kind = 4

	KindV2UserCreate Kind = 5 // refused when the user is there
	KindV2UserPut    Kind = 6 // changes the password of one that is there
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

	// KindLogin is proposed by a member that has found a password right. It changes nothing but, if
	// there is none, the key of simple tokens, and comes back with the cluster time.
	KindLogin Kind = 17
)

// Command changes users, roles, or whether they count. What its kind does not ask for is not looked
// at.
type Command struct {
	Kind Kind
	V2   bool   // of KindEnable, KindDisable and the deletes: which dialect asks
	Name string // of the user or role
	// Hash is of the new password; empty for none, or for the one that there is. Of KindLogin it is
	// the one that the password was found to have.
	Hash string

	Role          string   // that v3 grants or revokes
	Roles         []string // that a user of v2 is made with
	Grant, Revoke []string // roles of a user of v2

	Read, Write             []string // patterns that a role of v2 is made with, or granted
	RevokeRead, RevokeWrite []string

	Permission Permission // that v3 grants, or the range of what it revokes

	// MovesAlways has the command move the revision also when it changes nothing, and when it turns
	// authentication on, as all commands of version 0.1.0 did. It is not kept for KindLogin, which
	// never moves the revision.
	MovesAlways bool

	// of KindLogin: to sign tokens with, if there is none yet; empty for those that need none
	Key string
}

// Flags of a command.
const (
	flagV2 = 1 << iota
	// flagExact is set unless MovesAlways is. Version 0.1.0 does not know it.
	flagExact
)

// Append writes the command's bytes, as docs/formats/auth.md draws them.
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
		dst = appendTexts(dst, *list)
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

// Decode is the inverse of Append. Nothing points into b.
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
		*list = takeTexts(&r)
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

// Result is what a command made: the user or role as it is now.
type Result struct {
	User    *User
	Role    *Role
	Created bool

	// Of KindLogin: as of which state the login is good, and when it was.
	State *State
	Time  kv.ClusterTime
}

// change is one command at work: what it puts into the next state goes into the batch, too.
type change struct {
	*Command
	next *State
	b    *storage.Batch
	// changed is set when a user, a role, or whether authentication counts for less than before, is
	// not what it was: turning authentication on alone does not set it.
	changed bool
}

// Apply makes the change that c asks for, in the batch that Begin started, or refuses it and
// changes nothing. now is the cluster time.
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

// login lets a login be good as of this command, if the user still has the password. It does not
// move the revision: nobody may do more or less than before.
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
	// Only who comes through v2 expects that guests may go on as before.
	if c.V2 && c.next.roles[GuestRole] == nil {
		c.putRole(&Role{Name: GuestRole, Read: []string{"/*"}, Write: []string{"/*"}})
	}
	// v2's root always is root. Without the role, which v3 does not give it by itself, nobody could
	// turn authentication off again.
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

// deleteRole removes a role; v3 also from its users. In v2 it is theirs again when it is made
// again.
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

// sameRange reports whether two ranges are written alike.
func sameRange(a, b kv.KeyRange) bool {
	return string(a.Key) == string(b.Key) && string(a.End) == string(b.End)
}
