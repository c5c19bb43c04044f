// Package versions opens what earlier versions have written: data directories of members that were
// killed, and a backup. testdata/make.sh made them, with the programs of that version.
//
// Concurrency: none.
package versions

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// patience is far above the usual times, so that a busy machine fails no test.
const patience = time.Minute

const data = "testdata/0.1.0/"

// contents is etcdctl's output of get.
type contents struct {
	Kvs []struct {
		Key            []byte `json:"key"`
		Value          []byte `json:"value"`
		CreateRevision int64  `json:"create_revision"`
		ModRevision    int64  `json:"mod_revision"`
		Version        int64  `json:"version"`
		Lease          int64  `json:"lease"`
	} `json:"kvs"`
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(data + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unpack extracts the data directory of an archive.
func unpack(t *testing.T, name, dir string) string {
	t.Helper()
	at := t.TempDir()
	archive := tar.NewReader(strings.NewReader(string(read(t, name))))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return filepath.Join(at, dir)
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(at, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(archive); err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// start runs a member on a data directory, and returns a client and its URL.
func start(t *testing.T, dir, user string, flags ...string) (*clientv3.Client, string) {
	t.Helper()
	if other := harness.Reference(t); other != "" {
		t.Skip("these are files of cairn's, not of " + other)
	}
	client := "http://127.0.0.1:" + harness.FreePort(t)
	harness.Launch(t, exec.Command(harness.Etcd(t), append([]string{
		"--data-dir", dir, "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", "http://127.0.0.1:" + harness.FreePort(t),
	}, flags...)...))
	config := clientv3.Config{Endpoints: []string{client}, DialTimeout: patience, Logger: zap.NewNop()}
	if user != "" {
		config.Username, config.Password, _ = strings.Cut(user, ":")
	}
	c, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, client
}

// compare compares all keys with those of the earlier version, except those in missing.
func compare(ctx context.Context, t *testing.T, c *clientv3.Client, missing ...string) {
	t.Helper()
	var want contents
	if err := json.Unmarshal(read(t, "get.json.gz"), &want); err != nil {
		t.Fatal(err)
	}
	got, err := c.Get(ctx, "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	var left, right []string
	for _, kv := range want.Kvs {
		if len(missing) > 0 && string(kv.Key) == missing[0] {
			continue
		}
		left = append(left, fmt.Sprintf("%s=%x create %d mod %d version %d lease %x", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease))
	}
	for _, kv := range got.Kvs {
		right = append(right, fmt.Sprintf("%s=%x create %d mod %d version %d lease %x", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease))
	}
	if len(left) < 15 || !reflect.DeepEqual(left, right) {
		t.Errorf("keys\n%.3000s\nwant\n%.3000s", strings.Join(right, "\n"), strings.Join(left, "\n"))
	}
}

// TestDataDirectory opens the directory of a member that was killed: keys with their history,
// leases, users, v2 directories, and a table of several members.
func TestDataDirectory(t *testing.T) {
	dir := unpack(t, "one.tar.gz", "one")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, url := start(t, dir, "root:rootpw")
	compare(ctx, t, c)
	if past, err := c.Get(ctx, "key/01", clientv3.WithRev(12)); err != nil || len(past.Kvs) != 1 || string(past.Kvs[0].Value) != "value-11" {
		t.Errorf("key/01 at revision 12: %v, %v", past, err)
	}
	lease, err := strconv.ParseInt(strings.TrimSpace(string(read(t, "lease"))), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	ttl, err := c.TimeToLive(ctx, clientv3.LeaseID(lease), clientv3.WithAttachedKeys())
	if err != nil || ttl.GrantedTTL != 315360000 || ttl.TTL < 300000000 || len(ttl.Keys) != 2 {
		t.Errorf("lease: %v, %v", ttl, err)
	}
	members, err := c.MemberList(ctx)
	if err != nil || len(members.Members) != 2 || members.Members[0].IsLearner == members.Members[1].IsLearner {
		t.Errorf("members %v, %v", members, err)
	}
	role, err := c.RoleGet(ctx, "reader")
	if err != nil || len(role.Perm) != 1 || string(role.Perm[0].Key) != "key/" {
		t.Errorf("role %v, %v", role, err)
	}
	v2(t, url)
}

// v2 compares a v2 directory that contains an empty one.
func v2(t *testing.T, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v2/keys/?recursive=true&sorted=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("root", "rootpw")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read
	var got, want any
	if err := errors.Join(json.NewDecoder(resp.Body).Decode(&got), json.Unmarshal(read(t, "v2.json"), &want)); err != nil {
		t.Fatal(err)
	}
	left, right := forgetTTL(want), forgetTTL(got)
	if !reflect.DeepEqual(left, right) {
		t.Errorf("v2 has %v, want %v", right, left)
	}
}

// forgetTTL removes the remaining seconds from v2's nodes.
func forgetTTL(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "ttl")
		delete(v, "expiration")
		for _, below := range v {
			forgetTTL(below)
		}
	case []any:
		for _, below := range v {
			forgetTTL(below)
		}
	}
	return v
}

// TestOneOfThree opens the directory of one of three members, which then forms a cluster of one.
func TestOneOfThree(t *testing.T) {
	dir := unpack(t, "three-a.tar.gz", "a")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _ := start(t, dir, "", "--name", "a", "--force-new-cluster")
	got, err := c.Get(ctx, "k", clientv3.WithPrefix())
	if err != nil || len(got.Kvs) != 3 || string(got.Kvs[2].Value) != "v3" {
		t.Errorf("keys %v, %v", got, err)
	}
	if members, err := c.MemberList(ctx); err != nil || len(members.Members) != 1 {
		t.Errorf("members %v, %v", members, err)
	}
}

// TestBackup restores a backup.
func TestBackup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "restored")
	out, err := exec.Command(harness.Etcdctl(t), "snapshot", "restore", data+"backup.db", "--data-dir", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _ := start(t, dir, "root:rootpw")
	compare(ctx, t, c, "behind-backup")
}
