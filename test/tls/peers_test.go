package tls_test

import (
	"strings"
	"testing"
)

// TestPeers bootstraps clusters of two over each kind of TLS. A member with a wrong certificate
// cannot join.
func TestPeers(t *testing.T) {
	c := makeCertificates(t)
	for _, peer := range map[string]struct {
		scheme string
		flags  []string
	}{
		"plain": {"http", nil}, "TLS": {"https", append(c.flags("peer-"), "--peer-trusted-ca-file", c.caFile)},
		"mutual": {"https", append(c.mutual("peer-"), "--peer-cert-allowed-cn", "member")}, "auto": {"https", []string{"--peer-auto-tls"}},
	} {
		dir := t.TempDir()
		cluster := []*member{newMember(t, "a"), newMember(t, "b")}
		for _, m := range cluster {
			m.start(t, dir, "http", peer.scheme, cluster, peer.flags...)
		}
		for _, m := range cluster {
			m.await(t, ready)
		}
	}
	// A member whose certificate the others do not accept cannot join, and its log says why.
	stranger := c.shown["wrong CN"].Write(t, c.dir, "stranger")
	dir := t.TempDir()
	cluster := []*member{newMember(t, "a"), newMember(t, "b")}
	cluster[0].start(t, dir, "http", "https", cluster, append(c.mutual("peer-"), "--peer-cert-allowed-cn", "member")...)
	cluster[1].start(t, dir, "http", "https", cluster, "--peer-cert-file", stranger.Cert, "--peer-key-file", stranger.Key, "--peer-trusted-ca-file", c.caFile)
	cluster[0].await(t, `common name is \"stranger\"`)
	if strings.Contains(cluster[0].log.String(), ready) {
		t.Error("a member with a wrong common name was accepted")
	}
}
