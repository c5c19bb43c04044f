package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"cairn/internal/auth"
	"cairn/internal/version"
)

// cookieName returns the name of the session's cookie. Browsers send cookies to all ports of a
// host, so the name has the cluster's ID: consoles of several clusters on one host do not log each
// other out. A cookie named __Host-… can only be set over TLS by the host itself (RFC 6265bis).
func (c *Console) cookieName(secure bool) string {
	name := fmt.Sprintf("cairn-console-%x", c.opts.ClusterID)
	if secure {
		return "__Host-" + name
	}
	return name
}

// setCookie sets the session's cookie, or deletes it if token is "". It lasts until the browser
// ends, or the token expires.
func (c *Console) setCookie(w http.ResponseWriter, r *http.Request, token string) {
	secure := r.TLS != nil
	cookie := &http.Cookie{Name: c.cookieName(secure), Value: token, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode}
	if token == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// credentials are those of a request: a token, of the header Authorization or of the session, or
// the common name of the client's certificate.
type credentials struct{ token, commonName string }

// Actor implements auth.Credentials.
func (c credentials) Actor(_ context.Context, g *auth.Gate, s *auth.State) (*auth.Actor, error) {
	switch {
	case c.token != "":
		name, err := g.Bearer(s, c.token)
		if err != nil {
			return nil, err
		}
		return &auth.Actor{Name: name}, nil
	case c.commonName != "":
		return &auth.Actor{Name: c.commonName}, nil
	default:
		return nil, auth.NoCredentials
	}
}

func (c *Console) credentials(r *http.Request) credentials {
	token := r.Header.Get("Authorization")
	if token == "" {
		token = c.sessionToken(r)
	}
	return credentials{token: token, commonName: c.commonName(r)}
}

// sessionToken returns the token of the session's cookie, or "".
func (c *Console) sessionToken(r *http.Request) string {
	if len(r.Header["Cookie"]) == 0 {
		return ""
	}
	cookie, err := r.Cookie(c.cookieName(r.TLS != nil))
	if err != nil {
		return ""
	}
	return cookie.Value
}

// commonName returns the common name of the client's verified certificate if it is the name of its
// user, or "".
func (c *Console) commonName(r *http.Request) string {
	if !c.opts.CommonNames || r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return ""
	}
	return r.TLS.VerifiedChains[0][0].Subject.CommonName
}

// keyRange is a range of keys in JSON: range_end is empty for the one key, and a zero byte for no
// end.
type keyRange struct {
	Key base64Bytes `json:"key"`
	End base64Bytes `json:"range_end"`
}

// sessionJSON describes the caller and the member.
type sessionJSON struct {
	AuthEnabled     bool       `json:"auth_enabled"`
	User            string     `json:"user"`
	Login           string     `json:"login"` // none, password or certificate
	Root            bool       `json:"root"`
	ReadOnly        bool       `json:"read_only"`
	CertificateUser string     `json:"certificate_user,omitempty"`
	Secure          bool       `json:"secure"` // the connection has TLS, or is local
	MayRead         []keyRange `json:"may_read"`
	MayWrite        []keyRange `json:"may_write"`
	MemberID        uint64     `json:"member_id,string"`
	MemberName      string     `json:"member_name"`
	ClusterID       uint64     `json:"cluster_id,string"`
	Version         string     `json:"version"`
	Cairn           string     `json:"cairn"`
	Revision        int64      `json:"revision"`
	CompactRevision int64      `json:"compact_revision"`
	Keys            int64      `json:"keys"`
	V2              bool       `json:"v2"`
	Leader          bool       `json:"leader"`
}

// session describes the session; without one, only what is needed to begin one.
func (c *call) session() (any, error) {
	if err := c.decode(&struct{}{}); err != nil {
		return nil, err
	}
	return c.describe(c.credentials(c.r))
}

func (c *call) describe(from credentials) (any, error) {
	s := sessionJSON{
		Login: "none", ReadOnly: c.opts.ReadOnly, CertificateUser: from.commonName, Secure: c.r.TLS != nil || isLocal(c.r), V2: c.opts.V2,
		MayRead: []keyRange{}, MayWrite: []keyRange{},
	}
	caller, err := c.guard().Identify(c.r.Context(), from)
	s.AuthEnabled = c.member.Gate().State().Enabled
	var reason auth.Reason
	switch {
	case errors.As(err, &reason): // there is no session, or it has ended
		return s, nil
	case err != nil:
		return nil, err
	}
	if caller.Actor != nil {
		s.User, s.Login = caller.Actor.Name, "password"
		if from.token == "" {
			s.Login = "certificate"
		}
	}
	s.Root = caller.Subject.Root()
	for from, to := range caller.Subject.Readable() {
		s.MayRead = append(s.MayRead, rangeOf(from, to))
	}
	for from, to := range caller.Subject.Writable() {
		s.MayWrite = append(s.MayWrite, rangeOf(from, to))
	}
	head := c.member.Keys().Head()
	s.Revision, s.CompactRevision = head.Revision, head.CompactRevision
	if s.Root {
		s.Keys = head.Keys()
	}
	s.MemberID, s.ClusterID, s.Version, s.Cairn = c.member.ID(), c.opts.ClusterID, version.API, version.Cairn
	s.Leader = c.member.Leader() != 0
	for _, m := range c.member.Members() {
		if m.ID == s.MemberID {
			s.MemberName = m.Name
		}
	}
	return s, nil
}

// rangeOf returns the range [from, to); to nil means no end.
func rangeOf(from, to []byte) keyRange {
	switch {
	case len(from) == 0 && to == nil:
		return keyRange{Key: []byte{0}, End: []byte{0}}
	case to == nil:
		return keyRange{Key: from, End: []byte{0}}
	case len(to) == len(from)+1 && to[len(from)] == 0 && string(to[:len(from)]) == string(from):
		return keyRange{Key: from}
	default:
		return keyRange{Key: from, End: to}
	}
}

// login begins a session: it sets a cookie that scripts cannot read.
func (c *call) login() (any, error) {
	var in struct {
		User     string `json:"user"`
		Password string `json:"password"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	ctx := c.r.Context()
	if host, _, err := net.SplitHostPort(c.r.RemoteAddr); err == nil {
		ctx = auth.From(ctx, host)
	}
	token, err := c.member.Login(ctx, in.User, in.Password)
	if err != nil {
		return nil, err
	}
	c.setCookie(c.w, c.r, token)
	return c.describe(credentials{token: token, commonName: c.commonName(c.r)})
}

// logout ends the session and its token.
func (c *call) logout() (any, error) {
	if err := c.decode(&struct{}{}); err != nil {
		return nil, err
	}
	if token := c.credentials(c.r).token; token != "" {
		c.member.Logout(c.r.Context(), token)
	}
	c.setCookie(c.w, c.r, "")
	return c.describe(credentials{commonName: c.commonName(c.r)})
}
