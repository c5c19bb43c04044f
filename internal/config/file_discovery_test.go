package config

import (
	"slices"
	"testing"
	"time"
)

// TestDiscoverySection reads every key of etcd's section discovery-config.
func TestDiscoverySection(t *testing.T) {
	file := `discovery-config:
  token: t1
  client:
    endpoints: [https://a:1, https://b:2]
    dial-timeout: 3000000000
    request-timeout: 4s
    keepalive-time: 5s
    keepalive-timeout: 7s
    secure: {cert: /c, key: /k, cacert: /ca, insecure-transport: false, insecure-skip-tls-verify: true}
    auth: {username: u, password: p}
    unknown: 1
`
	c, err := Load(nil, []string{"ETCD_CONFIG_FILE=/f"}, func(string) ([]byte, error) { return []byte(file), nil })
	if err != nil {
		t.Fatal(err)
	}
	d := c.Discovery.V3
	want := DiscoveryV3{
		Token: "t1", Endpoints: []string{"https://a:1", "https://b:2"}, DialTimeout: 3 * time.Second, RequestTimeout: 4 * time.Second,
		KeepaliveTime: 5 * time.Second, KeepaliveTimeout: 7 * time.Second, SkipVerify: true, Cert: "/c", Key: "/k", CA: "/ca", User: "u", Password: "p",
	}
	if !slices.Equal(d.Endpoints, want.Endpoints) {
		t.Errorf("endpoints %q", d.Endpoints)
	}
	d.Endpoints, want.Endpoints = nil, nil
	if got, all := d, want; got.Token != all.Token || got.DialTimeout != all.DialTimeout || got.RequestTimeout != all.RequestTimeout ||
		got.KeepaliveTime != all.KeepaliveTime || got.KeepaliveTimeout != all.KeepaliveTimeout || got.Insecure || !got.SkipVerify ||
		got.Cert != all.Cert || got.Key != all.Key || got.CA != all.CA || got.User != all.User || got.Password != all.Password {
		t.Errorf("got %+v, want %+v", got, all)
	}
	if !slices.ContainsFunc(c.Warnings, func(w Warning) bool { return w.Setting == "/f: discovery-config.client.unknown" }) {
		t.Errorf("warnings %+v", c.Warnings)
	}
	for _, bad := range []string{"discovery-config: 1", "discovery-config: {client: [1]}", "discovery-config: {token: {a: 1}}"} {
		if _, err := Load(nil, []string{"ETCD_CONFIG_FILE=/f"}, func(string) ([]byte, error) { return []byte(bad), nil }); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
