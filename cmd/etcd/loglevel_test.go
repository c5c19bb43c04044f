package main

import (
	"net/http"
	"strings"
	"testing"
)

// TestLogLevelNeedsRoot sets the log level before and after authentication is enabled, with each
// kind of credentials.
func TestLogLevelNeedsRoot(t *testing.T) {
	p := start(t, t.TempDir(), nil, anyPort("--enable-v2=false")...)
	url := p.await(`listening for client requests url=(\S+)`)[1]
	p.await(`ready to serve`)
	set := func(user, level string, want int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/config/local/log", strings.NewReader(`{"Level":"`+level+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		if name, password, ok := strings.Cut(user, ":"); ok {
			r.SetBasicAuth(name, password)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s sets %s: status %d, want %d", user, level, resp.StatusCode, want)
		}
	}
	set("", "DEBUG", http.StatusNoContent)
	newBrowser(t, url, nil).enableAuth()
	set("", "INFO", http.StatusUnauthorized)
	set("alice:alice", "INFO", http.StatusUnauthorized)
	set("root:wrong", "INFO", http.StatusUnauthorized)
	set("root:root", "bogus", http.StatusBadRequest)
	set("root:root", "ERROR", http.StatusNoContent)
	if resp, err := http.Get(url + "/config/local/log"); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v, %v", resp, err)
	}
}
