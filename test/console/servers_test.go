package console

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/fleet"
	"cairn/test/harness"
	"cairn/test/pki"
	"cairn/test/process"
)

// sites are the servers of a run, as page.mjs reads them.
type sites struct {
	URL      string     `json:"url"`
	Keys     int        `json:"keys"`               // below /many/
	PID      int        `json:"pid"`                // of the server at URL
	ReadOnly string     `json:"readOnly,omitempty"` // URL of a server with --console-read-only
	Secure   *secure    `json:"secure,omitempty"`
	Fleet    *fleetSite `json:"fleet,omitempty"`
}

// secure is a server with authentication and --client-cert-auth.
type secure struct {
	URL      string   `json:"url"`
	Client   keyFiles `json:"client"`   // of the user root
	Stranger keyFiles `json:"stranger"` // of no user
}

type keyFiles struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// fleetSite has three members, and what a fourth one needs.
type fleetSite struct {
	Members []memberSite `json:"members"`
	Program string       `json:"program"`
	Joining joiningSite  `json:"joining"`
}

type memberSite struct {
	ID   uint64 `json:"id,string"`
	Name string `json:"name"`
	URL  string `json:"url"`
	Peer string `json:"peer"`
	PID  int    `json:"pid"`
}

type joiningSite struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	Peer string `json:"peer"`
	Dir  string `json:"dir"`
}

// opsMax is a transaction's number of operations.
const opsMax = 1000

// fill puts n keys below /many/, named key-00000000 and so on.
func fill(t *testing.T, s *harness.Server, n int) {
	t.Helper()
	ctx := t.Context()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.URL()}, Context: ctx})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := 0; i < n; {
		var ops []clientv3.Op
		for ; len(ops) < opsMax && i < n; i++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("/many/key-%08d", i), "value "+strconv.Itoa(i)))
		}
		if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// manyScripts are those of the group many. `make console-large` also measures the server's cost.
func manyScripts() []string {
	if os.Getenv("CAIRN_CONSOLE_KEYS") != "" {
		return []string{"cost", "many"}
	}
	return []string{"many"}
}

// manyKeys is the number of keys to scroll: 100,000, or that in CAIRN_CONSOLE_KEYS.
func manyKeys(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CAIRN_CONSOLE_KEYS")
	if text == "" {
		return 100_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("CAIRN_CONSOLE_KEYS: %v", err)
	}
	return n
}

func startSecure(t *testing.T) *secure {
	t.Helper()
	s, files := harness.StartSecure(t)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.URL()}, TLS: files.Config(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	for _, step := range []func() error{
		func() error { _, err := c.RoleAdd(ctx, "root"); return err },
		func() error { _, err := c.UserAdd(ctx, "root", "r00t"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	stranger := files.Authority.Issue(t, pki.Spec{CommonName: "stranger"}).Write(t, t.TempDir(), "stranger")
	return &secure{s.URL(), keyFiles{files.Cert, files.Key}, keyFiles{stranger.Cert, stranger.Key}}
}

func startFleet(t *testing.T) *fleetSite {
	t.Helper()
	ctx := t.Context()
	f := fleet.New(fleet.Config{
		Program: harness.Etcd(t), Dir: t.TempDir(),
		// The scripts move the leadership, so it must not move by itself while the machine is busy.
		Flags: []string{"--election-timeout", "5000"},
	})
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range f.Members() {
				t.Logf("%s:\n%s", m.Name, m.Log())
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := f.Bootstrap(ctx, 3); err != nil {
		t.Fatal(err)
	}
	site := &fleetSite{Program: harness.Etcd(t)}
	for _, m := range f.Members() {
		site.Members = append(site.Members, memberSite{m.ID(), m.Name, m.ClientURL(), m.PeerURL(), m.PID()})
	}
	address := func() string {
		a, err := process.FreeAddress("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		return "http://" + a
	}
	site.Joining = joiningSite{Name: "n4", URL: address(), Peer: address(), Dir: filepath.Join(t.TempDir(), "data")}
	return site
}
