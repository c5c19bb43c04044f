package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// fake is a v2 server that follows a script of expected requests and their responses:
//
//	> GET /v2/keys/a?quorum=false   the next request, with " -d BODY" where it has a body
//	> auth root:pw                  the credentials that it must have
//	< 200 17 {"action":"get",…}     the response: status, X-Etcd-Index (- for none), body
//	< close                         no response: the connection is closed
//	< 307 - http://elsewhere/       a redirect
//
// $NAME in it is the URL of the server of that name. An unexpected request gets status 418 and
// fails the script.
type fake struct {
	server *httptest.Server

	mu     sync.Mutex // guards the fields below
	steps  []fakeStep
	faults []string
}

type fakeStep struct{ request, auth, response string }

type fakesKey struct{}

// serve starts a server that follows the script in a file: serve NAME FILE. Its URL is $NAME from
// then on.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: serve NAME FILE")
	}
	f := &fake{}
	f.server = httptest.NewServer(f)
	ts.Defer(func() {
		f.server.CloseClientConnections()
		f.server.Close()
	})
	ts.Setenv(args[0], f.server.URL)
	ts.Value(fakesKey{}).(map[string]*fake)[args[0]] = f
	f.mu.Lock() // the server runs already
	defer f.mu.Unlock()
	for _, line := range strings.Split(os.Expand(ts.ReadFile(args[1]), ts.Getenv), "\n") {
		kind, text, _ := strings.Cut(line, " ")
		switch {
		case kind == ">" && strings.HasPrefix(text, "auth "):
			f.steps[len(f.steps)-1].auth = strings.TrimPrefix(text, "auth ")
		case kind == ">":
			f.steps = append(f.steps, fakeStep{request: text})
		case kind == "<":
			f.steps[len(f.steps)-1].response = text
		case line != "":
			ts.Fatalf("%s: line %q is neither a request (>) nor a response (<)", args[1], line)
		}
	}
}

// served checks that a server has received all requests of its script and no others: served NAME.
func served(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: served NAME")
	}
	f := ts.Value(fakesKey{}).(map[string]*fake)[args[0]]
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.faults) > 0 {
		ts.Fatalf("server %s:\n%s", args[0], strings.Join(f.faults, "\n"))
	}
	if len(f.steps) > 0 {
		ts.Fatalf("server %s: %d requests did not arrive, the next is %s", args[0], len(f.steps), f.steps[0].request)
	}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.URL.Path == "/health" && (len(f.steps) == 0 || f.steps[0].request != "GET /health") {
		w.WriteHeader(http.StatusNotFound) // from the diagnosis after an error
		return
	}
	body, _ := io.ReadAll(r.Body)
	got := r.Method + " " + r.URL.String()
	if r.Header.Get("Content-Type") != "" {
		got += " -d " + string(body)
	}
	user, password, _ := r.BasicAuth()
	if len(f.steps) == 0 || f.steps[0].request != got || f.steps[0].auth != "" && f.steps[0].auth != user+":"+password {
		want := "nothing more"
		if len(f.steps) > 0 {
			want = fmt.Sprintf("%+v", f.steps[0])
		}
		f.faults = append(f.faults, fmt.Sprintf("got %s (credentials %q), want %s", got, user+":"+password, want))
		w.WriteHeader(http.StatusTeapot)
		return
	}
	response := strings.SplitN(f.steps[0].response, " ", 3)
	f.steps = f.steps[1:]
	if response[0] == "close" {
		panic(http.ErrAbortHandler)
	}
	if len(response) < 3 {
		response = append(response, "", "")
	}
	if response[1] != "-" && response[1] != "" {
		w.Header().Set("X-Etcd-Index", response[1])
	}
	if response[0][0] == '3' {
		w.Header().Set("Location", response[2])
	}
	var status int
	fmt.Sscan(response[0], &status)
	w.WriteHeader(status)
	io.WriteString(w, response[2])
}
