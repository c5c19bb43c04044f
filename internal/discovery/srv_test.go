package discovery

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"cairn/test/dnstest"
)

// TestClients queries a DNS server for the endpoints of a domain.
func TestClients(t *testing.T) {
	lookup := dnstest.New(t,
		"_etcd-client-ssl._tcp.example.com. IN SRV 10 3 2379 a.example.com.",
		"_etcd-client._tcp.example.com. IN SRV 0 0 2379 b.example.com.",
		"_etcd-client-ssl-two._tcp.example.com. IN SRV 0 0 1 c.example.com.",
		"_etcd-client-ssl._tcp.broken.com. IN SRV 0 0 0 a.broken.com.",
		"_etcd-client-ssl._tcp.none.com. IN SRV 0 0 2379 .",
	).Resolver().LookupSRV
	for _, c := range []struct {
		domain, suffix string
		insecure       bool
		want           []string
		fault          string
	}{
		{"example.com", "", true, []string{"https://a.example.com:2379", "http://b.example.com:2379"}, ""},
		{"example.com", "", false, []string{"https://a.example.com:2379"}, ""},
		{"example.com", "two", true, []string{"https://c.example.com:1"}, ""},
		{"example.org", "", false, nil, `--discovery-srv: no endpoints in the SRV records of "example.org" (lookup _etcd-client-ssl._tcp.example.org`},
		{"example.org", "", false, nil, `endpoints without TLS count with --insecure-discovery only`},
		{"broken.com", "", false, nil, `_etcd-client-ssl._tcp.broken.com has an unusable record "a.broken.com." port 0`},
		{"none.com", "", false, nil, `_etcd-client-ssl._tcp.none.com has an unusable record "."`},
	} {
		got, err := Clients(context.Background(), lookup, c.domain, c.suffix, c.insecure)
		if !slices.Equal(URLs(got), c.want) || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%+v: got %v, %v", c, got, err)
		}
	}
	got, err := Clients(context.Background(), lookup, "example.com", "", false)
	if want := (Endpoint{"https", "a.example.com:2379", 10, 3}); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

// TestRecordsAreBounded: a name with very many records yields a limited number of endpoints.
func TestRecordsAreBounded(t *testing.T) {
	lookup := func(context.Context, string, string, string) (string, []*net.SRV, error) {
		return "", slices.Repeat([]*net.SRV{{Target: "a.", Port: 1}}, recordsMax+1), nil
	}
	got, err := Clients(context.Background(), lookup, "example.com", "", false)
	if err != nil || len(got) != recordsMax {
		t.Errorf("got %d endpoints, %v; want %d", len(got), err, recordsMax)
	}
}

// FuzzTarget: a record's target adds only a host to a URL.
func FuzzTarget(f *testing.F) {
	for _, target := range []string{"a.example.com.", ".", "", "a@b", "a/b", "a:1", "[::1]", "a b", "a,b=http"} {
		f.Add(target, uint16(2379))
	}
	f.Fuzz(func(t *testing.T, target string, port uint16) {
		lookup := func(context.Context, string, string, string) (string, []*net.SRV, error) {
			return "", []*net.SRV{{Target: target, Port: port}}, nil
		}
		found, err := Clients(context.Background(), lookup, "example.com", "", false)
		if err != nil {
			return
		}
		u, err := url.Parse(found[0].URL())
		if err != nil || u.Host != found[0].Host || u.Scheme != "https" || u.User != nil || u.Path != "" || u.Hostname() != strings.TrimSuffix(target, ".") {
			t.Errorf("target %q became %q: %v", target, found[0].URL(), err)
		}
	})
}
