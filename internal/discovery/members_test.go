package discovery

import (
	"context"
	"slices"
	"strings"
	"testing"

	"cairn/test/dnstest"
)

func TestMembers(t *testing.T) {
	resolver := dnstest.New(t,
		"_etcd-server._tcp.example.com. IN SRV 0 0 2380 a.example.com.",
		"_etcd-server._tcp.example.com. IN SRV 1 0 2380 b.example.com.",
		"_etcd-server-ssl._tcp.example.com. IN SRV 0 0 2381 c.example.com.",
		"_etcd-server-two._tcp.example.com. IN SRV 0 0 1 c.example.com.",
		"a.example.com. IN A 10.0.0.1",
		"b.example.com. IN A 10.0.0.2",
		"c.example.com. IN A 10.0.0.3",
	).Resolver()
	for _, c := range []struct {
		name, suffix, peerURLs, want, own, fault string
	}{
		{"n1", "", "http://a.example.com:2380", "0=https://c.example.com:2381,n1=http://a.example.com:2380,1=http://b.example.com:2380", "http://a.example.com:2380", ""},
		{"n2", "", "http://10.0.0.2:2380", "0=https://c.example.com:2381,1=http://a.example.com:2380,n2=http://b.example.com:2380", "http://b.example.com:2380", ""},
		{"0", "", "https://C.example.com:2381", "0=https://c.example.com:2381,4=http://a.example.com:2380,1=http://b.example.com:2380", "https://c.example.com:2381", ""},
		{"n1", "two", "http://10.0.0.3:1", "n1=http://c.example.com:1", "http://c.example.com:1", ""},
		{"n1", "", "https://a.example.com:2380", "", "", `--initial-advertise-peer-urls: https://a.example.com:2380 is none of the members in the SRV records of "example.com" (https://c.example.com:2381 http://a.example.com:2380 http://b.example.com:2380): want the URL of one of them`},
		{"n1", "none", "http://10.0.0.3:1", "", "", `--discovery-srv: no members in the SRV records of "example.com" (lookup _etcd-server-ssl-none._tcp.example.com`},
	} {
		got, own, err := Members(context.Background(), resolver, "example.com", c.suffix, Self{c.name, []string{c.peerURLs}})
		if got != c.want || strings.Join(own, ",") != c.own || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%+v: got %q, %v, %v", c, got, own, err)
		}
	}
	if _, own, _ := Members(context.Background(), resolver, "example.com", "", Self{"n", []string{"http://a.example.com:2380", "http://10.0.0.2:2380"}}); !slices.Equal(own, []string{"http://a.example.com:2380", "http://b.example.com:2380"}) {
		t.Errorf("a member with two URLs has %v", own)
	}
}
