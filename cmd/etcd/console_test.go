package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gorilla/websocket"

	"cairn/test/pki"
)

// browser sends requests as the console's page does.
type browser struct {
	t      *testing.T
	url    string // http://127.0.0.1:2379
	client *http.Client
}

// newBrowser returns a browser with its own cookies.
func newBrowser(t *testing.T, url string, secure *tls.Config) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, url, &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true}}}
}

// post sends a request of the page, or without headers one that is not from the page.
func (b *browser) post(path, body string, headers ...string) (status int, text string) {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodPost, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

// page is the headers that a browser adds to the page's requests, with the page's own one.
func (b *browser) page() []string {
	return []string{"X-Cairn-Console", "1", "Origin", b.url, "Sec-Fetch-Site", "same-origin"}
}

// must sends a request of the page that must succeed.
func (b *browser) must(path, body string) string {
	b.t.Helper()
	status, text := b.post(path, body, b.page()...)
	if status != http.StatusOK {
		b.t.Fatalf("%s %s: %d %s", path, body, status, text)
	}
	return text
}

// watch opens a watch of all keys over a websocket, from a page of an origin, and returns the first
// message.
func (b *browser) watch(origin string) (string, *websocket.Conn) {
	b.t.Helper()
	dialer := websocket.Dialer{Jar: b.client.Jar, TLSClientConfig: b.client.Transport.(*http.Transport).TLSClientConfig.Clone()}
	conn, _, err := dialer.Dial("ws"+strings.TrimPrefix(b.url, "http")+"/v3/watch", http.Header{"Origin": {origin}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"create_request":{"key":"AA==","range_end":"AA=="}}`)); err != nil {
		b.t.Fatal(err)
	}
	_, text, err := conn.ReadMessage()
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text), conn
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// enableAuth adds root, and the user alice with the role app, which grants access to /app/.
func (b *browser) enableAuth() {
	b.t.Helper()
	for _, step := range [][2]string{
		{"user/add", `{"name":"root","password":"root"}`},
		{"user/add", `{"name":"alice","password":"alice"}`},
		{"role/add", `{"name":"root"}`},
		{"role/add", `{"name":"app"}`},
		{"user/grant", `{"user":"root","role":"root"}`},
		{"user/grant", `{"user":"alice","role":"app"}`},
		{"role/grant", fmt.Sprintf(`{"name":"app","perm":{"permType":"READWRITE","key":%q,"range_end":%q}}`, encode("/app/"), encode("/app0"))},
		{"enable", `{}`},
	} {
		b.must("/v3/auth/"+step[0], step[1])
	}
}

// TestConsole uses the console, the JSON gateway and websockets as the page does.
func TestConsole(t *testing.T) {
	p := start(t, t.TempDir(), nil, anyPort("--listen-metrics-urls", "http://127.0.0.1:0", "--log-level", "debug")...)
	peer := p.await(`listening for peers url=(\S+)`)[1]
	url := p.await(`listening for client requests url=(\S+)`)[1]
	metrics := p.await(`listening for metrics url=(\S+)`)[1]
	p.await(`ready to serve`)
	b := newBrowser(t, url, nil)
	if text := get(t, url+"/console/"); !strings.Contains(text, "<!doctype html>") {
		t.Errorf("the page: %s", text)
	}
	for _, other := range []string{metrics, peer} {
		if resp, err := http.Get(other + "/console/"); err != nil || resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s has a console: %v %v", other, resp, err)
		}
	}
	b.must("/v3/kv/put", fmt.Sprintf(`{"key":%q,"value":%q}`, encode("/app/1"), encode("secret-value-1")))
	if text := b.must("/console/api/tree", `{}`); !strings.Contains(text, `"count":1`) {
		t.Errorf("the tree: %s", text)
	}
	b.enableAuth()
	if status, _ := b.post("/v3/kv/range", `{"key":"AA==","range_end":"AA=="}`, b.page()...); status != http.StatusBadRequest {
		t.Errorf("a range without a session: %d", status)
	}
	b.must("/console/api/login", `{"user":"alice","password":"alice"}`)
	put := fmt.Sprintf(`{"key":%q,"value":%q}`, encode("/app/2"), encode("secret-value-2"))
	b.must("/v3/kv/put", put)
	if status, text := b.post("/v3/kv/put", fmt.Sprintf(`{"key":%q}`, encode("/other")), b.page()...); status != http.StatusForbidden {
		t.Errorf("a put without permission: %d %s", status, text)
	}
	for name, headers := range map[string][]string{
		"a foreign page's form": {"Content-Type", "text/plain", "Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"},
		"without the header":    {"Origin", url, "Sec-Fetch-Site", "same-origin"},
		"with it":               {"X-Cairn-Console", "1", "Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"},
	} {
		if status, text := b.post("/v3/kv/put", put, headers...); status == http.StatusOK {
			t.Errorf("%s: %s", name, text)
		}
	}
	if text := b.must("/console/api/search", fmt.Sprintf(`{"text":%q,"in":"value"}`, encode("value-2"))); !strings.Contains(text, encode("/app/2")) {
		t.Errorf("the search: %s", text)
	}
	if text, _ := b.watch(url); !strings.Contains(text, `"created":true`) || !strings.Contains(text, `"canceled":true`) {
		t.Errorf("alice's watch of everything: %s", text)
	}
	b.must("/console/api/login", `{"user":"root","password":"root"}`)
	text, conn := b.watch(url)
	if !strings.Contains(text, `"created":true`) || strings.Contains(text, "canceled") {
		t.Errorf("root's watch: %s", text)
	}
	b.must("/v3/kv/put", put)
	var got struct {
		Result struct {
			Events []struct{ Kv struct{ Key []byte } }
		}
	}
	if err := conn.ReadJSON(&got); err != nil || len(got.Result.Events) != 1 || string(got.Result.Events[0].Kv.Key) != "/app/2" {
		t.Errorf("the event: %+v, %v", got, err)
	}
	if text, _ := b.watch("http://evil.example"); !strings.Contains(text, `"canceled":true`) {
		t.Errorf("a foreign page's watch: %s", text)
	}
	var session struct{ User string }
	if err := json.Unmarshal([]byte(b.must("/console/api/logout", `{}`)), &session); err != nil || session.User != "" {
		t.Errorf("after the log-out: %+v, %v", session, err)
	}
	if status, _ := b.post("/console/api/tree", `{}`, b.page()...); status != http.StatusUnauthorized {
		t.Errorf("the tree after the log-out: %d", status)
	}
	p.signal(syscall.SIGTERM)
	if _, stderr := p.end(); strings.Contains(stderr, "secret-value") || strings.Contains(stderr, encode("secret-value-1")[:12]) {
		t.Error("the log has a value")
	}
}

// TestConsoleCertificate: the common name of a client's certificate counts for the console's pages,
// and for no other requests as JSON.
func TestConsoleCertificate(t *testing.T) {
	dir, authority := t.TempDir(), pki.NewAuthority(t, "clients")
	server := authority.Issue(t, pki.Spec{Hosts: []string{"127.0.0.1"}}).Write(t, dir, "server")
	ca := pki.Write(t, filepath.Join(dir, "ca.crt"), authority.PEM())
	p := start(t, dir, nil, "--listen-client-urls", "https://127.0.0.1:0", "--advertise-client-urls", "https://127.0.0.1:1", "--listen-peer-urls", "http://127.0.0.1:0",
		"--cert-file", server.Cert, "--key-file", server.Key, "--trusted-ca-file", ca, "--client-cert-auth", "--console-read-only")
	url := p.await(`listening for client requests url=(\S+)`)[1]
	p.await(`ready to serve`)
	pair := authority.Issue(t, pki.Spec{CommonName: "alice"}).Write(t, dir, "alice")
	own, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.Cert)
	b := newBrowser(t, url, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}})
	if status, text := b.post("/v3/kv/put", `{"key":"YQ=="}`, b.page()...); status != http.StatusForbidden || !strings.Contains(text, "read-only") {
		t.Errorf("a put of the read-only console: %d %s", status, text)
	}
	program := newBrowser(t, url, b.client.Transport.(*http.Transport).TLSClientConfig)
	for _, step := range [][2]string{
		{"user/add", `{"name":"root","password":"root"}`},
		{"user/add", `{"name":"alice","options":{"no_password":true}}`},
		{"role/add", `{"name":"root"}`},
		{"role/add", `{"name":"app"}`},
		{"role/grant", fmt.Sprintf(`{"name":"app","perm":{"permType":"READ","key":%q}}`, encode("a"))},
		{"user/grant", `{"user":"root","role":"root"}`},
		{"user/grant", `{"user":"alice","role":"app"}`},
		{"enable", `{}`},
	} {
		if status, text := program.post("/v3/auth/"+step[0], step[1]); status != http.StatusOK {
			t.Fatalf("%s: %d %s", step[0], status, text)
		}
	}
	if text := b.must("/console/api/session", `{}`); !strings.Contains(text, `"user":"alice","login":"certificate"`) {
		t.Errorf("the session: %s", text)
	}
	b.must("/v3/kv/range", `{"key":"YQ=="}`)
	if status, text := program.post("/v3/kv/range", `{"key":"YQ=="}`); status != http.StatusBadRequest || !strings.Contains(text, "user name is empty") {
		t.Errorf("a range that is not the console's: %d %s", status, text)
	}
	b.must("/console/api/login", `{"user":"root","password":"root"}`)
	if text := b.must("/console/api/session", `{}`); !strings.Contains(text, `"user":"root","login":"password"`) || !strings.Contains(text, `"certificate_user":"alice"`) {
		t.Errorf("the session after the log-in: %s", text)
	}
}

func TestConsoleDisabled(t *testing.T) {
	p := start(t, t.TempDir(), nil, anyPort("--enable-console=false", "--enable-v2=false")...)
	url := p.await(`listening for client requests url=(\S+)`)[1]
	p.await(`ready to serve`)
	for _, path := range []string{"/console", "/console/", "/console/api/session"} {
		if resp, err := http.Get(url + path); err != nil || resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %v %v", path, resp, err)
		}
	}
}
