// Package coredns runs CoreDNS with its etcd plugin in front of a real server of ours, and asks it
// by DNS queries: services that register in SkyDNS' form, over both APIs, are found by name.
//
// It is a separate module, so that cairn does not depend on CoreDNS. `make coredns` runs it; it
// takes a minute or two to build, and is not part of `make test`.
//
// Concurrency: one test, with a server and CoreDNS in this process.
package coredns

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind" // for the loopback address
	_ "github.com/coredns/coredns/plugin/etcd" // the plugin that is tested
	"github.com/miekg/dns"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// corefile is CoreDNS' configuration.
type corefile string

func (c corefile) Body() []byte       { return []byte(c) }
func (c corefile) Path() string       { return "Corefile" }
func (c corefile) ServerType() string { return "dns" }

// TestSkyDNS registers services over v3 and v2, asks for them by A, AAAA, SRV and TXT queries and
// by wildcard, and asks again when one has changed, one was deleted and the lease of one has
// expired.
func TestSkyDNS(t *testing.T) {
	s := harness.Start(t)
	caddy.Quiet, dnsserver.Quiet = true, true
	instance, err := caddy.Start(corefile(fmt.Sprintf("example.org:0 {\n\tbind 127.0.0.1\n\tetcd {\n\t\tpath /skydns\n\t\tendpoint %s\n\t}\n}\n", s.URL())))
	if err != nil {
		t.Fatal(err)
	}
	defer instance.Stop() //nolint:errcheck // the test is over
	address := instance.Servers()[0].LocalAddr().String()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.URL()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	put := func(key, value string, opts ...clientv3.OpOption) {
		t.Helper()
		if _, err := c.Put(ctx, key, value, opts...); err != nil {
			t.Fatal(err)
		}
	}
	lease, err := c.Grant(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	put("/skydns/org/example/web/1", `{"host":"10.0.0.1","port":8080}`)
	put("/skydns/org/example/note", `{"text":"first"}`)
	put("/skydns/org/example/web/2", `{"host":"10.0.0.2","port":8081}`)
	put("/skydns/org/example/web/6", `{"host":"fd00::6","port":8082}`)
	put("/skydns/org/example/brief", `{"host":"10.0.0.3"}`, clientv3.WithLease(lease.ID))
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.URL()+"/v2/keys/skydns/org/example/old", strings.NewReader(`value={"host":"10.0.0.9"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("v2: %v, %+v", err, resp)
	}
	resp.Body.Close()

	query := func(name string, kind uint16) string {
		t.Helper()
		reply, err := dns.Exchange(new(dns.Msg).SetQuestion(name, kind), address)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, rr := range reply.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				found = append(found, rr.A.String())
			case *dns.AAAA:
				found = append(found, rr.AAAA.String())
			case *dns.SRV:
				found = append(found, fmt.Sprintf("%s:%d", rr.Target, rr.Port))
			case *dns.TXT:
				found = append(found, strings.Join(rr.Txt, ""))
			}
		}
		slices.Sort(found)
		return strings.TrimSpace(dns.RcodeToString[reply.Rcode] + " " + strings.Join(found, " "))
	}
	for _, q := range []struct {
		name string
		kind uint16
		want string
	}{
		{"1.web.example.org.", dns.TypeA, "NOERROR 10.0.0.1"},
		{"web.example.org.", dns.TypeA, "NOERROR 10.0.0.1 10.0.0.2"},
		{"web.example.org.", dns.TypeAAAA, "NOERROR fd00::6"},
		{"web.example.org.", dns.TypeSRV, "NOERROR 1.web.example.org.:8080 2.web.example.org.:8081 6.web.example.org.:8082"},
		{"*.web.example.org.", dns.TypeA, "NOERROR 10.0.0.1 10.0.0.2"},
		{"note.example.org.", dns.TypeTXT, "NOERROR first"},
		{"old.example.org.", dns.TypeA, "NOERROR 10.0.0.9"},
		{"none.example.org.", dns.TypeA, "NXDOMAIN"},
	} {
		if got := query(q.name, q.kind); got != q.want {
			t.Errorf("%s %s: %s, want %s", q.name, dns.TypeToString[q.kind], got, q.want)
		}
	}
	put("/skydns/org/example/web/1", `{"host":"10.0.0.4"}`)
	if _, err := c.Delete(ctx, "/skydns/org/example/web/2"); err != nil {
		t.Fatal(err)
	}
	if got := query("web.example.org.", dns.TypeA); got != "NOERROR 10.0.0.4" {
		t.Errorf("after the change: %s", got)
	}
	harness.Await(t, "the service whose lease has expired is not found", func() bool { return query("brief.example.org.", dns.TypeA) == "NXDOMAIN" })
}
