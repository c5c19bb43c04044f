package v2client

import (
	"context"
	"net/http"
)

// User is a user with the names of its roles.
type User struct {
	Name  string
	Roles []string
}

// Permissions are patterns of keys: a path, or a prefix followed by *.
type Permissions struct {
	Read  []string `json:"read"`
	Write []string `json:"write"`
}

// Role is a role with its permissions.
type Role struct {
	Name        string
	Permissions Permissions
}

// userChange and roleChange are request bodies of the auth API.
type userChange struct {
	User     string   `json:"user"`
	Password string   `json:"password,omitempty"`
	Roles    []string `json:"roles"` // always null, as --debug shows it in etcd's
	Grant    []string `json:"grant,omitempty"`
	Revoke   []string `json:"revoke,omitempty"`
}

type roleChange struct {
	Role        string     `json:"role"`
	Permissions keyAccess  `json:"permissions"` // always empty, likewise
	Grant       *keyAccess `json:"grant,omitempty"`
	Revoke      *keyAccess `json:"revoke,omitempty"`
}

type keyAccess struct {
	KV Permissions `json:"kv"`
}

// role is a role in the JSON of the API.
type role struct {
	Role        string    `json:"role"`
	Permissions keyAccess `json:"permissions"`
}

// SetAuth enables or disables authentication.
func (c *Client) SetAuth(ctx context.Context, on bool) error {
	method := http.MethodDelete
	if on {
		method = http.MethodPut
	}
	return c.admin(ctx, Request{Method: method, Path: "/v2/auth/enable"}, nil, http.StatusOK)
}

// Users lists the names of the users.
func (c *Client) Users(ctx context.Context) ([]string, error) {
	var list struct{ Users []struct{ User string } }
	err := c.admin(ctx, Request{Method: http.MethodGet, Path: "/v2/auth/users"}, &list, http.StatusOK)
	var names []string
	for _, u := range list.Users {
		names = append(names, u.User)
	}
	return names, err
}

// User returns a user with its roles.
func (c *Client) User(ctx context.Context, name string) (*User, error) {
	var u struct {
		User  string
		Roles []struct{ Role string }
	}
	if err := c.admin(ctx, Request{Method: http.MethodGet, Path: "/v2/auth/users/" + name}, &u, http.StatusOK); err != nil {
		return nil, err
	}
	user := &User{Name: u.User}
	for _, r := range u.Roles {
		user.Roles = append(user.Roles, r.Role)
	}
	return user, nil
}

// SetPassword creates a user, or sets the password of an existing one; created reports which.
func (c *Client) SetPassword(ctx context.Context, name, password string) (created bool, err error) {
	body := encode(userChange{User: name, Password: password})
	response, err := c.Do(ctx, Request{Method: http.MethodPut, Path: "/v2/auth/users/" + name, Body: &body, JSON: true})
	switch {
	case err != nil:
		return false, err
	case response.Status != http.StatusOK && response.Status != http.StatusCreated:
		return false, httpError(response)
	}
	return response.Status == http.StatusCreated, nil
}

// GrantRoles grants roles to a user.
func (c *Client) GrantRoles(ctx context.Context, name string, roles []string) error {
	return c.changeUser(ctx, userChange{User: name, Grant: roles})
}

// RevokeRoles revokes roles from a user.
func (c *Client) RevokeRoles(ctx context.Context, name string, roles []string) error {
	return c.changeUser(ctx, userChange{User: name, Revoke: roles})
}

func (c *Client) changeUser(ctx context.Context, change userChange) error {
	body := encode(change)
	r := Request{Method: http.MethodPut, Path: "/v2/auth/users/" + change.User, Body: &body, JSON: true}
	return c.admin(ctx, r, nil, http.StatusOK)
}

// RemoveUser removes a user.
func (c *Client) RemoveUser(ctx context.Context, name string) error {
	return c.admin(ctx, Request{Method: http.MethodDelete, Path: "/v2/auth/users/" + name}, nil, http.StatusOK)
}

// Roles lists the names of the roles.
func (c *Client) Roles(ctx context.Context) ([]string, error) {
	var list struct{ Roles []role }
	err := c.admin(ctx, Request{Method: http.MethodGet, Path: "/v2/auth/roles"}, &list, http.StatusOK)
	var names []string
	for _, r := range list.Roles {
		names = append(names, r.Role)
	}
	return names, err
}

// Role returns a role with its permissions.
func (c *Client) Role(ctx context.Context, name string) (*Role, error) {
	var r role
	if err := c.admin(ctx, Request{Method: http.MethodGet, Path: "/v2/auth/roles/" + name}, &r, http.StatusOK); err != nil {
		return nil, err
	}
	return &Role{Name: r.Role, Permissions: r.Permissions.KV}, nil
}

// AddRole creates a role without permissions.
func (c *Client) AddRole(ctx context.Context, name string) error {
	return c.changeRole(ctx, roleChange{Role: name}, http.StatusCreated)
}

// GrantRole grants permissions to a role.
func (c *Client) GrantRole(ctx context.Context, name string, more Permissions) error {
	return c.changeRole(ctx, roleChange{Role: name, Grant: &keyAccess{more}}, http.StatusOK)
}

// RevokeRole revokes permissions from a role.
func (c *Client) RevokeRole(ctx context.Context, name string, less Permissions) error {
	return c.changeRole(ctx, roleChange{Role: name, Revoke: &keyAccess{less}}, http.StatusOK)
}

func (c *Client) changeRole(ctx context.Context, change roleChange, status int) error {
	body := encode(change)
	r := Request{Method: http.MethodPut, Path: "/v2/auth/roles/" + change.Role, Body: &body, JSON: true}
	return c.admin(ctx, r, nil, status)
}

// RemoveRole removes a role.
func (c *Client) RemoveRole(ctx context.Context, name string) error {
	return c.admin(ctx, Request{Method: http.MethodDelete, Path: "/v2/auth/roles/" + name}, nil, http.StatusOK)
}
