package console

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cairn/internal/auth"
)

// Without authentication only programs of the same machine are served, by a name that no foreign
// page can have.
func TestWhoIsServed(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Hosts = []string{"*", "console.example"} })
	for _, c := range []struct {
		remote, host string
		served       bool
	}{
		{"127.0.0.1:1", "localhost:2379", true},
		{"127.0.0.1:1", "127.0.0.1:2379", true},
		{"127.9.9.9:1", "LOCALHOST", true},
		{"[::1]:1", "[::1]:2379", true},
		{"[::ffff:127.0.0.1]:1", "localhost", true},
		{"127.0.0.1:1", "console.example:2379", true},
		{"127.0.0.1:1", "evil.example:2379", false}, // its name resolves to 127.0.0.1
		{"127.0.0.1:1", "localhost.evil.example", false},
		{"127.0.0.1:1", "10.0.0.1:2379", false},
		{"10.0.0.2:1", "localhost:2379", false},
		{"10.0.0.2:1", "console.example", false},
		{"[fe80::1]:1", "localhost", false},
		{"", "localhost", false},
	} {
		from := func(r *http.Request) { r.RemoteAddr, r.Host = c.remote, c.host }
		if resp := b.ask("session", "{}", from); (resp.StatusCode == http.StatusOK) != c.served {
			t.Errorf("API: from %q to %q: %d", c.remote, c.host, resp.StatusCode)
		}
		page := httptest.NewRequest(http.MethodGet, "/console/", nil)
		from(page)
		w := httptest.NewRecorder()
		b.console.ServeHTTP(w, page)
		if (w.Code == http.StatusOK) != c.served || w.Code != http.StatusOK && w.Code != http.StatusForbidden {
			t.Errorf("page: from %q to %q: %d", c.remote, c.host, w.Code)
		}
	}
	b.enableAuth()
	remote := func(r *http.Request) { r.RemoteAddr, r.Host = "10.0.0.2:1", "etcd.example" }
	var s sessionJSON
	b.get("session", "{}", &s, remote)
	if !s.AuthEnabled || s.User != "" || s.Login != "none" || s.MemberID != 0 || s.Secure {
		t.Errorf("a remote client without a session: %+v", s)
	}
}

// Pages of other origins cannot use the API, nor the session at the JSON gateway.
func TestForeignPages(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]struct {
		headers map[string]string
		status  int
	}{
		"the console's page": {map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:2379"}, 200},
		"a program":          {map[string]string{"Sec-Fetch-Site": "", "Origin": ""}, 200},
		"an old browser":     {map[string]string{"Sec-Fetch-Site": "", "Origin": "http://localhost:2379"}, 200},
		"a TLS proxy":        {map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://localhost:2379"}, 200},
		"cross-site":         {map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"same-site":          {map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		"another port":       {map[string]string{"Sec-Fetch-Site": "", "Origin": "http://localhost:8080"}, 403},
		"another host":       {map[string]string{"Sec-Fetch-Site": "", "Origin": "http://evil.example"}, 403},
		"a sandboxed frame":  {map[string]string{"Sec-Fetch-Site": "", "Origin": "null"}, 403},
		"another scheme":     {map[string]string{"Sec-Fetch-Site": "", "Origin": "ftp://localhost:2379"}, 403},
		"no header":          {map[string]string{marker: ""}, 403},
		"a form":             {map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415},
		"a form as text":     {map[string]string{"Content-Type": "text/plain"}, 415},
	} {
		change := func(r *http.Request) {
			for name, value := range c.headers {
				r.Header.Del(name)
				if value != "" {
					r.Header.Set(name, value)
				}
			}
		}
		if resp := b.ask("session", "{}", change); resp.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, c.status)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		if resp := b.ask("session", "", func(r *http.Request) { r.Method = method }); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
	if resp := b.ask("nothing", "{}"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown path: %d", resp.StatusCode)
	}
}

// All responses have the headers that keep other content out of the page.
func TestHeaders(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/console", "/console/", "/console/nothing", "/console/api/session", "/console/api/tree"} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil)
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		w.Header().Set("Access-Control-Allow-Origin", "*") // --cors
		b.console.ServeHTTP(w, r)
		h := w.Result().Header
		for name, want := range map[string]string{
			"Content-Security-Policy":     policy,
			"X-Content-Type-Options":      "nosniff",
			"Referrer-Policy":             "no-referrer",
			"X-Frame-Options":             "DENY",
			"Access-Control-Allow-Origin": "",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s %q, want %q", path, name, h.Get(name), want)
			}
		}
		if caching := h.Get("Cache-Control"); caching != "no-store" && (path != "/console/" || caching != "no-cache") {
			t.Errorf("%s: Cache-Control %q", path, caching)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Error("the policy allows inline scripts or styles")
	}
}

func TestSession(t *testing.T) {
	b := newBench(t)
	b.put("/app/1")
	var s sessionJSON
	b.get("session", "", &s)
	if s.AuthEnabled || !s.Root || s.Keys != 1 || s.MemberName != "n1" || s.MemberID != memberID || s.ClusterID != 7 || !s.Leader || !s.Secure {
		t.Errorf("without authentication: %+v", s)
	}
	if status, text := b.refused("login", `{"user":"root","password":"root"}`); status != 400 || text != "authentication is not enabled" {
		t.Errorf("login without authentication: %d %s", status, text)
	}
	b.enableAuth()
	for _, body := range []string{`{"user":"alice","password":"root"}`, `{"user":"nobody","password":"x"}`, `{"user":"","password":""}`} {
		resp := b.ask("login", body)
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 400 || len(resp.Cookies()) != 0 || !strings.Contains(string(text), "invalid user ID or password") {
			t.Errorf("%s: %d %s %v", body, resp.StatusCode, text, resp.Cookies())
		}
	}
	resp := b.ask("login", `{"user":"alice","password":"alice"}`)
	if got := resp.Header.Get("Set-Cookie"); !strings.HasPrefix(got, "cairn-console-7=") || !strings.HasSuffix(got, "; Path=/; HttpOnly; SameSite=Strict") {
		t.Errorf("Set-Cookie: %s", got)
	}
	secure := b.ask("login", `{"user":"alice","password":"alice"}`, func(r *http.Request) { r.TLS = new(tls.ConnectionState) })
	if got := secure.Header.Get("Set-Cookie"); !strings.HasPrefix(got, "__Host-cairn-console-7=") || !strings.HasSuffix(got, "; Path=/; HttpOnly; Secure; SameSite=Strict") {
		t.Errorf("Set-Cookie over TLS: %s", got)
	}
	alice := b.login("alice")
	b.get("session", "{}", &s, alice)
	if s.User != "alice" || s.Login != "password" || s.Root || len(s.MayRead) != 1 || string(s.MayRead[0].Key) == "" || len(s.MayWrite) != 1 || len(s.MayWrite[0].End) != 0 {
		t.Errorf("alice: %+v", s)
	}
	if got := b.ask("logout", "{}", alice).Header.Get("Set-Cookie"); !strings.HasPrefix(got, "cairn-console-7=; Path=/; Max-Age=0; HttpOnly") {
		t.Errorf("logout: %s", got)
	}
	if status, _ := b.refused("cluster", "{}", alice); status != http.StatusUnauthorized {
		t.Errorf("the token of a session that has ended: %d", status)
	}
	for name, change := range map[string]func(*http.Request){
		"none":           func(*http.Request) {},
		"a wrong token":  func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "cairn-console-7", Value: "x.1"}) },
		"another name":   func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "token", Value: "x.1"}) },
		"a wrong header": func(r *http.Request) { r.Header.Set("Authorization", "x.1") },
	} {
		var s sessionJSON
		b.get("session", "{}", &s, change)
		if s.User != "" || s.Root || len(s.MayRead) != 0 || s.Revision != 0 {
			t.Errorf("%s: %+v", name, s)
		}
		if status, text := b.refused("tree", "{}", change); status != 401 {
			t.Errorf("%s: tree: %d %s", name, status, text)
		}
	}
}

// withCertificate returns a change that makes the request one over TLS with a verified certificate.
func withCertificate(name string) func(*http.Request) {
	return func(r *http.Request) {
		certificate := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}, VerifiedChains: [][]*x509.Certificate{{certificate}}}
	}
}

func TestCertificate(t *testing.T) {
	b := newBench(t, func(o *Options) { o.CommonNames = true })
	b.enableAuth()
	var s sessionJSON
	b.get("session", "{}", &s, withCertificate("alice"))
	if s.User != "alice" || s.Login != "certificate" || s.CertificateUser != "alice" {
		t.Errorf("alice: %+v", s)
	}
	s = sessionJSON{}
	b.get("session", "{}", &s, withCertificate("nobody"))
	if s.User != "" || s.Root {
		t.Errorf("a name without a user: %+v", s)
	}
	without := newBench(t)
	without.enableAuth()
	s = sessionJSON{}
	without.get("session", "{}", &s, withCertificate("root"))
	if s.User != "" || s.Root || s.CertificateUser != "" {
		t.Errorf("without --client-cert-auth: %+v", s)
	}
}

// Wrap gives the session to requests of the console's scripts, and to no others.
func TestWrap(t *testing.T) {
	b := newBench(t, func(o *Options) { o.CommonNames = true })
	b.enableAuth()
	var token, user string
	handler := b.console.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token, user = r.Header.Get("Authorization"), auth.CertificateOf(r.Context())
	}))
	cookie := b.login("alice")
	marked := func(r *http.Request) { r.Header.Set(marker, "1") }
	same := func(r *http.Request) {
		scheme := "http://"
		if r.TLS != nil {
			scheme = "https://"
		}
		r.Header.Set("Origin", scheme+r.Host)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	foreign := func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }
	socket := func(r *http.Request) { r.Method = http.MethodGet; r.Header.Set("Upgrade", "websocket") }
	own := func(r *http.Request) { r.Header.Set("Authorization", "own") }
	type changes []func(*http.Request)
	for name, c := range map[string]struct {
		path  string
		with  changes
		token string // "session", or the header
		user  string
		code  int
	}{
		"the console":                 {"/v3/kv/range", changes{cookie, marked, same}, "session", "", 200},
		"the console, an old path":    {"/v3beta/kv/range", changes{cookie, marked, same}, "session", "", 200},
		"the console, other token":    {"/v3/kv/range", changes{cookie, marked, same, own}, "own", "", 200},
		"without the header":          {"/v3/kv/range", changes{cookie, same}, "", "", 200},
		"a foreign page":              {"/v3/kv/put", changes{cookie, marked, foreign}, "", "", 403},
		"a foreign page, no header":   {"/v3/kv/put", changes{cookie, foreign}, "", "", 200},
		"a websocket":                 {"/v3/watch", changes{cookie, same, socket}, "session", "", 200},
		"a foreign websocket":         {"/v3/watch", changes{cookie, foreign, socket}, "", "", 200},
		"a program's websocket":       {"/v3/watch", changes{cookie, socket}, "", "", 200},
		"v2":                          {"/v2/keys/a", changes{cookie, marked, same}, "", "", 200},
		"a certificate":               {"/v3/kv/range", changes{withCertificate("bob"), marked, same}, "", "bob", 200},
		"a certificate, no header":    {"/v3/kv/range", changes{withCertificate("bob")}, "", "", 200},
		"a certificate's websocket":   {"/v3/watch", changes{withCertificate("bob"), same, socket}, "", "bob", 200},
		"a certificate, foreign page": {"/v3/kv/put", changes{withCertificate("bob"), foreign, marked}, "", "", 403},
	} {
		token, user = "", ""
		r := httptest.NewRequest(http.MethodPost, "http://localhost:2379"+c.path, strings.NewReader("{}"))
		for _, change := range c.with {
			change(r)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if token != "" && token != "own" {
			token = "session"
		}
		if w.Code != c.code || token != c.token || user != c.user {
			t.Errorf("%s: %d, token %q, user %q; want %d, %q, %q", name, w.Code, token, user, c.code, c.token, c.user)
		}
	}
}

// A read-only console refuses what its pages write, with and without the header, and nothing else.
func TestReadOnly(t *testing.T) {
	b := newBench(t, func(o *Options) { o.ReadOnly = true })
	handler := b.console.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	page := func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }
	marked := func(r *http.Request) { r.Header.Set(marker, "1") }
	cookie := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "cairn-console-7", Value: "x.1"}) }
	program := func(*http.Request) {}
	for _, c := range []struct {
		method, path string
		writes       bool
	}{
		{"POST", "/v3/kv/range", false},
		{"POST", "/v3/maintenance/status", false},
		{"POST", "/v3/auth/user/list", false},
		{"GET", "/v3/watch", false},
		{"GET", "/v2/keys/a", false},
		{"GET", "/version", false},
		{"POST", "/v3/kv/put", true},
		{"POST", "/v3beta/kv/put", true},
		{"POST", "/v3/kv/txn", true},
		{"POST", "/v3/kv/deleterange", true},
		{"POST", "/v3/kv/compaction", true},
		{"POST", "/v3/lease/grant", true},
		{"GET", "/v3/lease/keepalive", true}, // a websocket
		{"POST", "/v3/cluster/member/remove", true},
		{"POST", "/v3/maintenance/alarm", true},
		{"POST", "/v3/maintenance/transfer-leadership", true},
		{"POST", "/v3/auth/enable", true},
		{"POST", "/v3/lock/lock", true},
		{"POST", "/v3/kv/Put", true}, // a path that is not known counts as a write
		{"PUT", "/v2/keys/a", true},
		{"DELETE", "/v2/keys/a", true},
		{"PUT", "/config/local/log", true},
	} {
		for name, from := range map[string]func(*http.Request){"page": page, "marked": marked, "cookie": cookie, "program": program} {
			r := httptest.NewRequest(c.method, "http://localhost:2379"+c.path, nil)
			from(r)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			want := http.StatusNoContent
			if c.writes && name != "program" {
				want = http.StatusForbidden
			}
			if w.Code != want {
				t.Errorf("%s %s from %s: %d, want %d", c.method, c.path, name, w.Code, want)
			}
		}
	}
	for _, name := range []string{"v2/set", "v2/delete"} {
		if status, text := b.refused(name, `{"key":"L2E="}`); status != 403 || text != "the console is read-only (--console-read-only)" {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	var s sessionJSON
	if b.get("session", "{}", &s); !s.ReadOnly {
		t.Error("the session does not say that the console is read-only")
	}
}
