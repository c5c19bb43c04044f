// Package goclientv2 drives a real server with the official Go client of the v2 API,
// go.etcd.io/etcd/client/v2.
//
// It owns the tests of that client's view: its responses, its typed errors, its watchers, its
// members and its users and roles.
//
// Concurrency: one server per test; watchers run in parallel with the test that waits for them.
package goclientv2

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v2"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// fixture is a server and clients of it.
type fixture struct {
	client.KeysAPI
	t      *testing.T
	ctx    context.Context
	server *harness.Server
}

func start(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, server: harness.Start(t)}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	f.ctx = ctx
	f.KeysAPI = client.NewKeysAPI(f.connect("", ""))
	return f
}

// connect returns a client with a user's credentials, or without any.
func (f *fixture) connect(user, password string) client.Client {
	f.t.Helper()
	c, err := client.New(client.Config{Endpoints: []string{f.server.URL()}, Username: user, Password: password})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// must returns a response, and fails the test on an error.
func (f *fixture) must(r *client.Response, err error) *client.Response {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// wantCode fails the test unless err is the client's error of that code.
func (f *fixture) wantCode(err error, code int) {
	f.t.Helper()
	var wire client.Error
	if !errors.As(err, &wire) || wire.Code != code {
		f.t.Errorf("error %v, want code %d", err, code)
	}
}
