package auth

import "fmt"

// Reason is why something is refused. The dialects have a text for each.
type Reason byte

// The reasons.
const (
	Denied Reason = iota + 1 // the user may not do that
	// users or roles have changed since the request was checked; ask again
	OldRevision
	NoCredentials // somebody has to say who they are
	BadToken      // nobody has been given that token, or it has lapsed
	BadPassword   // there is no such user, or it has another password
	NotEnabled    // there is nothing to log in to
	AlreadyEnabled
	NoRootUser // authentication needs one
	NoRootRole // the user root needs it
	UserExists
	UserNotFound
	UserNameEmpty
	PasswordEmpty
	PasswordTooLong // bcrypt takes 72 bytes
	UserUnchanged
	RootUserNeeded // the user root stays while authentication is on, and the role of it
	RoleExists
	RoleNotFound
	RoleNameEmpty
	RoleIsRoot // v2 does not let the role root be changed
	RoleUnchanged
	RoleGranted // the user has the role
	RoleNotGranted
	ReadGranted // the role has the pattern
	WriteGranted
	PermissionNotGranted
	PermissionEmpty // a permission for a range that has no keys
	TooManyLogins   // too many passwords wait to be checked
	// the token was given out as of users and roles that this member has not come to yet
	TokenAhead
	VerifyOnly // this member can check tokens and cannot give out any
)

var reasons = [...]string{
	Denied: "permission denied", OldRevision: "users or roles have changed meanwhile", NoCredentials: "no credentials",
	BadToken: "invalid token", BadPassword: "no such user or password", NotEnabled: "authentication is not enabled",
	AlreadyEnabled: "authentication is already enabled", NoRootUser: "there is no user root",
	NoRootRole: "the user root has not the role root", UserExists: "user exists", UserNotFound: "no such user",
	UserNameEmpty: "user name is empty", PasswordEmpty: "password is empty", PasswordTooLong: "password is longer than 72 bytes",
	UserUnchanged: "user not changed", RootUserNeeded: "the user root is needed while authentication is enabled",
	RoleExists: "role exists", RoleNotFound: "no such role", RoleNameEmpty: "role name is empty",
	RoleIsRoot: "the role root cannot be changed", RoleUnchanged: "role not changed", RoleGranted: "role is granted already",
	RoleNotGranted: "role is not granted", ReadGranted: "read permission is granted already",
	WriteGranted: "write permission is granted already", PermissionNotGranted: "permission is not granted",
	PermissionEmpty: "permission for a range without keys", TooManyLogins: "too many passwords wait to be checked",
	TokenAhead: "token of users and roles that are not known yet", VerifyOnly: "no private key to sign tokens with",
}

// Refusal implements kv.Refusal.
func (Reason) Refusal() {}

// Error implements error.
func (r Reason) Error() string { return reasons[r] }

// Refusal is a Reason with what it is about.
type Refusal struct {
	Reason Reason
	Name   string // of the user or role that was to be changed
	What   string // the role or pattern that was to be granted or revoked
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.What != "" {
		return fmt.Sprintf("%s: %s: %s", r.Name, r.What, r.Reason)
	}
	return r.Name + ": " + r.Reason.Error()
}

// Unwrap returns the Reason.
func (r *Refusal) Unwrap() error { return r.Reason }
