package tls_test

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/pki"
)

// TestRotation replaces the authority of a cluster of three, old → both → new, under load: no
// request fails, and there is no election.
func TestRotation(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	oldCA, newCA := pki.NewAuthority(t, "old"), pki.NewAuthority(t, "new")
	hosts := pki.Spec{CommonName: "member", Hosts: []string{"127.0.0.1"}}
	caFile := pki.Write(t, filepath.Join(dir, "ca.pem"), oldCA.PEM())
	files := oldCA.Issue(t, hosts).Write(t, dir, "server")
	cluster := []*member{newMember(t, "a"), newMember(t, "b"), newMember(t, "c")}
	var flags, endpoints []string
	for _, prefix := range []string{"", "peer-"} {
		flags = append(flags, "--"+prefix+"cert-file", files.Cert, "--"+prefix+"key-file", files.Key, "--"+prefix+"trusted-ca-file", caFile, "--"+prefix+"client-cert-auth")
	}
	// A machine that stops for 2 s must not cause an election.
	flags = append(flags, "--heartbeat-interval", "100", "--election-timeout", "5000")
	for _, m := range cluster {
		m.start(t, data, "https", "https", cluster, flags...)
		endpoints = append(endpoints, "https://"+m.client)
	}
	for _, m := range cluster {
		m.await(t, ready)
	}
	config := func(shown *pki.Authority, trusted ...*pki.Authority) *tls.Config {
		c := &certificates{ca: trusted[0], shown: map[string]pki.Pair{"x": shown.Issue(t, pki.Spec{CommonName: "client"})}}
		of := c.client("x")
		for _, a := range trusted {
			of.RootCAs.AddCert(a.Cert)
		}
		return of
	}
	dial := func(c *tls.Config) *clientv3.Client {
		client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, TLS: c, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	term := func(c *clientv3.Client) uint64 {
		ctx, cancel := within(time.Minute)
		defer cancel()
		s, err := c.Status(ctx, endpoints[0])
		if err != nil {
			t.Fatal(err)
		}
		return s.RaftTerm
	}
	steady := dial(config(oldCA, oldCA))
	defer steady.Close()
	before := term(steady)
	stop := make(chan struct{})
	var load sync.WaitGroup
	var done, fresh atomic.Int64
	var current atomic.Pointer[tls.Config]
	current.Store(config(oldCA, oldCA))
	load.Go(func() { // one connection through all of it
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			ctx, cancel := within(time.Minute)
			if _, err := steady.Put(ctx, fmt.Sprint("/k", i%100), "v"); err != nil {
				t.Errorf("put: %v", err)
			}
			cancel()
			done.Add(1)
		}
	})
	load.Go(func() { // new connections all the time
		for {
			select {
			case <-stop:
				return
			default:
			}
			client := dial(current.Load().Clone())
			ctx, cancel := within(time.Minute)
			if _, err := client.Get(ctx, "/k1"); err != nil {
				t.Errorf("get over a new connection: %v", err)
			}
			cancel()
			client.Close()
			fresh.Add(1)
		}
	})
	during := func() { // waits until connections of both kinds were made with the present files
		d, f := done.Load(), fresh.Load()
		for deadline := time.Now().Add(time.Minute); done.Load() < d+20 || fresh.Load() < f+3; {
			if time.Now().After(deadline) {
				t.Errorf("in a minute only %d puts and %d new connections succeeded", done.Load()-d, fresh.Load()-f)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	during()
	pki.Write(t, caFile, append(oldCA.PEM(), newCA.PEM()...))
	during()
	// clients trust both authorities before members change
	current.Store(config(newCA, oldCA, newCA))
	during()
	newCA.Issue(t, hosts).Write(t, dir, "server")
	during()
	pki.Write(t, caFile, newCA.PEM())
	during()
	close(stop)
	load.Wait()
	after := dial(config(newCA, newCA))
	defer after.Close()
	if now := term(after); now != before {
		t.Errorf("term %d before, %d after: there was an election", before, now)
	}
	ctx, cancel := within(refusedAfter)
	defer cancel()
	if err := apis["v2"](ctx, "https", cluster[0].client, config(oldCA, newCA)); err == nil {
		t.Error("a certificate of the old authority is accepted still")
	}
	t.Logf("%d puts, %d connections", done.Load(), fresh.Load())
}
