package v2http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"cairn/internal/auth"
)

const (
	usersPath = "/v2/auth/users"
	rolesPath = "/v2/auth/roles"
	// authBodyBytesMax far exceeds any list of roles or patterns.
	authBodyBytesMax = 1 << 20
)

// accessJSON has the permissions of a role, on the wire. null and [] differ.
type accessJSON struct {
	KV struct {
		Read  []string `json:"read"`
		Write []string `json:"write"`
	} `json:"kv"`
}

func (a *accessJSON) empty() bool { return a == nil || len(a.KV.Read) == 0 && len(a.KV.Write) == 0 }

type roleJSON struct {
	Role        string     `json:"role"`
	Permissions accessJSON `json:"permissions"`
}

func roleOnWire(r *auth.Role) roleJSON {
	out := roleJSON{Role: r.Name}
	out.Permissions.KV.Read, out.Permissions.KV.Write = r.Read, r.Write
	return out
}

type userJSON struct {
	User  string   `json:"user"`
	Roles []string `json:"roles"`
}

// userWithRolesJSON is a user with the permissions of its roles.
type userWithRolesJSON struct {
	User  string     `json:"user"`
	Roles []roleJSON `json:"roles,omitempty"`
}

// authRefusals is the one table of error texts of requests about users and roles. %s is the user or
// role; a second one the role or pattern to be granted or revoked.
var authRefusals = map[auth.Reason]message{
	auth.NotEnabled:      {http.StatusConflict, "already disabled"},
	auth.AlreadyEnabled:  {http.StatusConflict, "already enabled"},
	auth.NoRootUser:      {http.StatusConflict, "No root user available, please create one"},
	auth.UserExists:      {http.StatusConflict, "User %s already exists."},
	auth.UserNotFound:    {http.StatusNotFound, "User %s does not exist."},
	auth.PasswordEmpty:   {http.StatusBadRequest, "Cannot create user %s with an empty password"},
	auth.PasswordTooLong: {http.StatusBadRequest, "The password is longer than 72 bytes"},
	auth.UserUnchanged:   {http.StatusBadRequest, "User not updated. Use grant/revoke/password to update the user."},
	auth.RootUserNeeded:  {http.StatusForbidden, "Cannot delete root user while auth is enabled."},
	auth.RoleExists:      {http.StatusConflict, "Role %s already exists."},
	auth.RoleNotFound:    {http.StatusNotFound, "Role %s does not exist."},
	auth.RoleIsRoot:      {http.StatusForbidden, "Cannot modify role %s: is root role."},
	auth.RoleUnchanged:   {http.StatusBadRequest, "Role not updated. Use grant/revoke to update the role."},
	auth.RoleGranted:     {http.StatusConflict, "Granting duplicate role %[2]s for user %[1]s"},
	auth.RoleNotGranted:  {http.StatusConflict, "Revoking ungranted role %[2]s for user %[1]s"},
	auth.ReadGranted:     {http.StatusConflict, "Granting duplicate read permission %[2]s"},
	auth.WriteGranted:    {http.StatusConflict, "Granting duplicate write permission %[2]s"},
}

// authMessage returns the message of a refusal; it returns other errors unchanged.
func authMessage(err error) error {
	var reason auth.Reason
	if !errors.As(err, &reason) {
		return err
	}
	m, ok := authRefusals[reason]
	if !ok {
		return err
	}
	refused := &auth.Refusal{}
	_ = errors.As(err, &refused) // otherwise the text has no names
	text := m.text
	switch strings.Count(text, "%") {
	case 0:
	case 1:
		if strings.Contains(text, "[2]") {
			text = fmt.Sprintf(text, refused.Name, refused.What)
		} else {
			text = fmt.Sprintf(text, refused.Name)
		}
	default:
		text = fmt.Sprintf(text, refused.Name, refused.What)
	}
	return &message{m.status, "auth: " + text}
}

// serveAuth serves a request below /v2/auth, if the caller has permission.
func (h *Handler) serveAuth(w http.ResponseWriter, r *http.Request, do func(http.ResponseWriter, *http.Request) error) {
	w.Header()["X-Etcd-Cluster-Id"] = []string{h.b.ClusterID()}
	if err := do(w, r); err != nil {
		writeMessage(w, authMessage(err))
	}
}

func (h *Handler) serveAuthEnable(w http.ResponseWriter, r *http.Request) {
	h.serveAuth(w, r, func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet {
			return writeJSON(w, struct {
				Enabled bool `json:"enabled"`
			}{h.authority.Gate().State().Enabled})
		}
		c := auth.Command{Kind: auth.KindEnable, V2: true}
		if r.Method == http.MethodDelete {
			c.Kind = auth.KindDisable
		}
		if _, err := h.changeAuth(r, &c); err != nil {
			return err
		}
		writeNothing(w)
		return nil
	})
}

func (h *Handler) changeAuth(r *http.Request, c *auth.Command) (res auth.Result, err error) {
	err = h.asRoot(r, func(ctx context.Context) error {
		res, err = h.authority.ChangeAuth(ctx, c)
		return err
	})
	return res, err
}

// writeNothing writes a success without a body.
func writeNothing(w http.ResponseWriter) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(http.StatusOK)
}

func (h *Handler) serveUsers(w http.ResponseWriter, r *http.Request) {
	h.serveAuth(w, r, func(w http.ResponseWriter, _ *http.Request) error {
		s := h.authority.Gate().State()
		return writeJSONList(w, "users", "null", func(yield func(userWithRolesJSON) bool) {
			for _, name := range s.UserNames() {
				u, _ := userWithRoles(s, s.User(name)) // lists leave out roles that do not exist
				if !yield(u) {
					return
				}
			}
		})
	})
}

// userWithRoles returns a user on the wire, and the first of its roles that does not exist.
func userWithRoles(s *auth.State, u *auth.User) (out userWithRolesJSON, missing string) {
	out.User = u.Name
	for _, name := range u.Roles {
		switch role := s.RoleShown(name); {
		case role != nil:
			out.Roles = append(out.Roles, roleOnWire(role))
		case missing == "":
			missing = name
		}
	}
	return out, missing
}

func (h *Handler) serveRoles(w http.ResponseWriter, r *http.Request) {
	h.serveAuth(w, r, func(w http.ResponseWriter, _ *http.Request) error {
		s := h.authority.Gate().State()
		names := append(s.RoleNames(), auth.RootName)
		slices.Sort(names)
		return writeJSONList(w, "roles", "[]", func(yield func(roleJSON) bool) {
			for _, name := range slices.Compact(names) {
				if !yield(roleOnWire(s.RoleShown(name))) {
					return
				}
			}
		})
	})
}

func (h *Handler) serveUser(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, usersPath+"/"), "/")
	h.serveAuth(w, r, func(w http.ResponseWriter, r *http.Request) error {
		switch r.Method {
		case http.MethodGet:
			s := h.authority.Gate().State()
			u := s.User(name)
			if u == nil {
				return &auth.Refusal{Reason: auth.UserNotFound, Name: name}
			}
			out, missing := userWithRoles(s, u)
			if missing != "" {
				return &auth.Refusal{Reason: auth.RoleNotFound, Name: missing}
			}
			return writeJSON(w, out)
		case http.MethodPut:
			return h.putUser(w, r, name)
		default:
			return h.deleteAuth(w, r, auth.KindUserDelete, name, "auth: User %s does not exist")
		}
	})
}

// deleteAuth removes a user or role. Absent ones have their own error texts.
func (h *Handler) deleteAuth(w http.ResponseWriter, r *http.Request, kind auth.Kind, name, absent string) error {
	_, err := h.changeAuth(r, &auth.Command{Kind: kind, V2: true, Name: name})
	switch {
	case errors.Is(err, auth.UserNotFound), errors.Is(err, auth.RoleNotFound):
		return &message{http.StatusNotFound, fmt.Sprintf(absent, name)}
	case err != nil:
		return err
	}
	writeNothing(w)
	return nil
}

func (h *Handler) putUser(w http.ResponseWriter, r *http.Request, name string) error {
	var in struct {
		User     string   `json:"user"`
		Password string   `json:"password"`
		Roles    []string `json:"roles"`
		Grant    []string `json:"grant"`
		Revoke   []string `json:"revoke"`
	}
	if err := readAuthJSON(r, &in); err != nil {
		return err
	}
	c := auth.Command{Kind: auth.KindV2UserPut, Name: name, Roles: in.Roles, Grant: in.Grant, Revoke: in.Revoke}
	updates := len(in.Grant) > 0 || len(in.Revoke) > 0
	switch {
	case in.User != name:
		return &message{http.StatusBadRequest, "User JSON name does not match the name in the URL"}
	case updates && len(in.Roles) > 0:
		return &message{http.StatusBadRequest, "User JSON contains both roles and grant/revoke"}
	case updates:
		c.Kind = auth.KindV2UserUpdate
	case len(in.Roles) > 0:
		c.Kind = auth.KindV2UserCreate
	}
	if in.Password != "" {
		hash, err := h.authority.Gate().Hash(r.Context(), in.Password)
		if err != nil {
			return err
		}
		c.Hash = hash
	}
	res, err := h.changeAuth(r, &c)
	if err != nil {
		return err
	}
	return writeMade(w, res.Created, userJSON{res.User.Name, res.User.Roles})
}

func (h *Handler) serveRole(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, rolesPath+"/"), "/")
	h.serveAuth(w, r, func(w http.ResponseWriter, r *http.Request) error {
		switch r.Method {
		case http.MethodGet:
			role := h.authority.Gate().State().RoleShown(name)
			if role == nil {
				return &auth.Refusal{Reason: auth.RoleNotFound, Name: name}
			}
			return writeJSON(w, roleOnWire(role))
		case http.MethodPut:
			return h.putRole(w, r, name)
		default:
			return h.deleteAuth(w, r, auth.KindRoleDelete, name, "auth: Role %s doesn't exist.")
		}
	})
}

func (h *Handler) putRole(w http.ResponseWriter, r *http.Request, name string) error {
	var in struct {
		Role        string      `json:"role"`
		Permissions accessJSON  `json:"permissions"`
		Grant       *accessJSON `json:"grant"`
		Revoke      *accessJSON `json:"revoke"`
	}
	if err := readAuthJSON(r, &in); err != nil {
		return err
	}
	c := auth.Command{Kind: auth.KindV2RoleCreate, Name: name}
	updates := !in.Grant.empty() || !in.Revoke.empty()
	switch {
	case in.Role != name:
		return &message{http.StatusBadRequest, "Role JSON name does not match the name in the URL"}
	case updates && !in.Permissions.empty():
		return &message{http.StatusBadRequest, "Role JSON contains both permissions and grant/revoke"}
	case !updates:
		c.Read, c.Write = in.Permissions.KV.Read, in.Permissions.KV.Write
	default:
		c.Kind = auth.KindV2RoleUpdate
		if in.Grant != nil {
			c.Read, c.Write = in.Grant.KV.Read, in.Grant.KV.Write
		}
		if in.Revoke != nil {
			c.RevokeRead, c.RevokeWrite = in.Revoke.KV.Read, in.Revoke.KV.Write
		}
	}
	res, err := h.changeAuth(r, &c)
	if err != nil {
		return err
	}
	return writeMade(w, !updates, roleOnWire(res.Role))
}

// readAuthJSON decodes a JSON body. As in etcd it ignores the Content-Type.
func readAuthJSON(r *http.Request, into any) error {
	if json.NewDecoder(io.LimitReader(r.Body, authBodyBytesMax)).Decode(into) != nil {
		return &message{http.StatusBadRequest, "Invalid JSON in request body."}
	}
	return nil
}

// writeMade writes a user or role as it is now.
func writeMade(w http.ResponseWriter, created bool, v any) error {
	w.Header()["Content-Type"] = jsonType
	if created {
		w.WriteHeader(http.StatusCreated)
	}
	return writeJSON(w, v)
}
