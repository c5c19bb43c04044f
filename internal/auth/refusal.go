package auth

import "fmt"

// Reason is the reason of a refusal. Each dialect has a text for it.
type Reason byte

// The reasons.
const (
	Denied Reason = iota + 1 // the user lacks the permission
	// users or roles have changed since the request was authorized; authorize it again
	OldRevision
	NoCredentials // the request must have credentials
	BadToken      // unknown or expired token
	BadPassword   // no such user, or a wrong password
	NotEnabled    // authentication is disabled, so there are no logins
	AlreadyEnabled
	NoRootUser // enabling authentication requires the user root
	NoRootRole // the user root must have the role root
	UserExists
	UserNotFound
	UserNameEmpty
	PasswordEmpty
	PasswordTooLong // bcrypt uses 72 bytes
	UserUnchanged
	RootUserNeeded // while authentication is enabled, the user root and its role root cannot be removed
	RoleExists
	RoleNotFound
	RoleNameEmpty
	RoleIsRoot // v2 does not allow changes of the role root
	RoleUnchanged
	RoleGranted // the user has the role already
	RoleNotGranted
	ReadGranted // the role has the pattern already
	WriteGranted
	PermissionNotGranted
	PermissionEmpty // a permission for an empty range
	TooManyLogins   // too many password checks are queued
	// the token was issued at a revision of users and roles that this member has not applied yet
	TokenAhead
	VerifyOnly // this member can verify tokens but not issue them
)

var reasons = [...]string{
	Denied: "permission denied", OldRevision: "users or roles have changed meanwhile", NoCredentials: "no credentials",
	BadToken: "invalid token", BadPassword: "no such user or password", NotEnabled: "authentication is not enabled",
	AlreadyEnabled: "authentication is already enabled", NoRootUser: "there is no user root",
	NoRootRole: "the user root lacks the role root", UserExists: "user exists", UserNotFound: "no such user",
	UserNameEmpty: "user name is empty", PasswordEmpty: "password is empty", PasswordTooLong: "password is longer than 72 bytes",
	UserUnchanged: "user not changed", RootUserNeeded: "the user root is needed while authentication is enabled",
	RoleExists: "role exists", RoleNotFound: "no such role", RoleNameEmpty: "role name is empty",
	RoleIsRoot: "the role root cannot be changed", RoleUnchanged: "role not changed", RoleGranted: "role is granted already",
	RoleNotGranted: "role is not granted", ReadGranted: "read permission is granted already",
	WriteGranted: "write permission is granted already", PermissionNotGranted: "permission is not granted",
	PermissionEmpty: "permission for a range without keys", TooManyLogins: "too many password checks are queued",
	TokenAhead: "the token's revision of users and roles is not applied yet", VerifyOnly: "no private key to sign tokens with",
}

// Refusal implements kv.Refusal.
func (Reason) Refusal() {}

// Error implements error.
func (r Reason) Error() string { return reasons[r] }

// Refusal is a Reason with the names that it is about.
type Refusal struct {
	Reason Reason
	Name   string // of the user or role to be changed
	What   string // the role or pattern to be granted or revoked
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
