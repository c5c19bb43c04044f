package proxies

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/test/harness"
)

// ask makes a request over HTTP.
func ask(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	if method == http.MethodPut {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(text)
}

// TestReadOnlyProxy reads, watches and polls through a read-only proxy, which refuses writes of
// both APIs, over gRPC, HTTP/1 and JSON.
func TestReadOnlyProxy(t *testing.T) {
	f := newFleet(t, 1)
	p := startProxy(t, "httpproxy", f.Members(), "--proxy", "readonly")
	direct, c, url := member(t, f), p.client(t), "http://"+p.address
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	put, err := direct.Put(ctx, "/a", "1")
	must(t, err)
	lease, err := direct.Grant(ctx, 60)
	must(t, err)
	for name, call := range map[string]func() error{
		"put":      func() error { _, err := c.Put(ctx, "/a", "2"); return err },
		"delete":   func() error { _, err := c.Delete(ctx, "/a"); return err },
		"compact":  func() error { _, err := c.Compact(ctx, 1); return err },
		"grant":    func() error { _, err := c.Grant(ctx, 5); return err },
		"renew":    func() error { _, err := c.KeepAliveOnce(ctx, lease.ID); return err },
		"add user": func() error { _, err := c.UserAdd(ctx, "u", "p"); return err },
		"txn": func() error {
			_, err := c.Txn(ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("/a", "2")}, nil)).Commit()
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, err := c.Get(ctx, "/a"); err != nil || len(r.Kvs) != 1 {
		t.Errorf("get: %+v, %v", r, err)
	}
	if r, err := c.Txn(ctx).Then(clientv3.OpGet("/a")).Commit(); err != nil || len(r.Responses) != 1 {
		t.Errorf("a transaction that reads: %+v, %v", r, err)
	}
	if _, err := c.MemberList(ctx); err != nil {
		t.Errorf("member list: %v", err)
	}
	if r := <-c.Watch(ctx, "/a", clientv3.WithRev(put.Header.Revision)); len(r.Events) != 1 {
		t.Errorf("watch: %+v", r)
	}
	for _, r := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/v2/keys/a", "", 200},
		{"PUT", "/v2/keys/a", "value=2", 501},
		{"DELETE", "/v2/keys/a", "", 501},
		{"POST", "/v2/members", `{"peerURLs":["http://h:1"]}`, 501},
		{"GET", "/health", "", 200},
		{"POST", "/v3/kv/range", `{"key":"L2E="}`, 200},
		{"POST", "/v3/kv/put", `{"key":"L2E=","value":"Mg=="}`, 501},
		{"POST", "/v3/kv/txn", `{"success":[{"request_range":{"key":"L2E="}}]}`, 200},
		{"POST", "/v3/kv/txn", `{"success":[{"request_put":{"key":"L2E="}}]}`, 501},
		{"POST", "/v3/kv/txn", `{`, 501},
	} {
		if code, text := ask(t, r.method, url+r.path, r.body); code != r.want {
			t.Errorf("%s %s %s: %d %s, want %d", r.method, r.path, r.body, code, text, r.want)
		}
	}
	if r, err := direct.Get(ctx, "/a"); err != nil || string(r.Kvs[0].Value) != "1" || r.Header.Revision != put.Header.Revision {
		t.Errorf("something was written: %+v, %v", r, err)
	}
}

// TestHTTPThroughProxy holds what HTTP clients see of the proxy: large bodies either way, a body of
// unknown length, a stream of events, a poll whose client goes away, an upgrade, the list of
// members, and the errors without a member. It starts again from its file of members.
func TestHTTPThroughProxy(t *testing.T) {
	f := newFleet(t, 1)
	p := startProxy(t, "httpproxy", f.Members())
	url := "http://" + p.address
	large := strings.Repeat("x", 700<<10)
	if code, text := ask(t, "PUT", url+"/v2/keys/large", "value="+large); code != 201 {
		t.Fatalf("large: %d %.200s", code, text)
	}
	if code, text := ask(t, "GET", url+"/v2/keys/large", ""); code != 200 || !strings.Contains(text, large) {
		t.Errorf("large: %d, %d bytes", code, len(text))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/v2/keys/chunked", io.MultiReader(strings.NewReader("value="), strings.NewReader(large)))
	must(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != 201 {
		t.Errorf("chunked: %s", resp.Status)
	}

	stream, err := http.Get(url + "/v2/keys/s?wait=true&stream=true")
	must(t, err)
	defer stream.Body.Close()
	lines := bufio.NewReader(stream.Body)
	for i := range 3 {
		ask(t, "PUT", url+"/v2/keys/s", fmt.Sprintf("value=%d", i))
		if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, fmt.Sprintf(`"value":"%d"`, i)) {
			t.Errorf("stream: %q, %v", line, err)
		}
	}

	gone, err := net.Dial("tcp", p.address)
	must(t, err)
	_, err = io.WriteString(gone, "GET /v2/keys/gone?wait=true HTTP/1.1\r\nHost: x\r\n\r\n")
	must(t, err)
	watchers := func() string {
		_, text := ask(t, "GET", f.Members()[0].ClientURL()+"/v2/stats/store", "")
		_, text, _ = strings.Cut(text, `"watchers":`)
		return text
	}
	waiting := watchers()
	harness.Await(t, "the poll is at the member", func() bool { waiting = watchers(); return waiting >= "2" })
	gone.Close()
	harness.Await(t, "the member hears that the client has gone", func() bool { return watchers() < waiting })

	if code, text := ask(t, "GET", url+"/v2/config/local/proxy", ""); code != 200 || text != `{"endpoints":["`+f.Members()[0].ClientURL()+"\"]}\n" {
		t.Errorf("members: %d %s", code, text)
	}
	if text, err := os.ReadFile(filepath.Join(p.dir, "data", "proxy", "cluster")); err != nil || string(text) != `{"PeerURLs":["`+f.Members()[0].PeerURL()+`"]}` {
		t.Errorf("cluster file: %s, %v", text, err)
	}
	must(t, f.Members()[0].Kill())
	if code, text := ask(t, "GET", url+"/v2/keys/large", ""); code != 502 || !strings.Contains(text, `{"message":"unable to get response from 1 endpoint(s)`) {
		t.Errorf("without a member: %d %s", code, text)
	}
	must(t, f.Members()[0].Start())
	must(t, f.Members()[0].AwaitHealthy(t.Context()))
	harness.Await(t, "the member is used again", func() bool { code, _ := ask(t, "GET", url+"/version", ""); return code == 200 })
}

// TestClusterFile holds that a proxy stores the members' peer URLs only after a member has
// confirmed them, so that a wrong --initial-cluster can be corrected, and that the file goes before
// the flag from then on.
func TestClusterFile(t *testing.T) {
	f := newFleet(t, 1)
	address, dir := "127.0.0.1:"+harness.FreePort(t), filepath.Join(t.TempDir(), "data")
	file := filepath.Join(dir, "proxy", "cluster")
	args := []string{"--proxy", "on", "--data-dir", dir, "--listen-client-urls", "http://" + address, "--initial-cluster"}
	responds := func(code int) bool {
		resp, err := http.Get("http://" + address + "/v2/keys")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == code
	}
	wrong := "n1=http://127.0.0.1:1"
	first := startEtcd(t, append(args, wrong)...)
	harness.Await(t, "the proxy without members responds", func() bool { return responds(http.StatusServiceUnavailable) })
	(&proxy{proc: first}).stop()
	if text, err := os.ReadFile(file); err == nil {
		t.Errorf("without a member the proxy has stored %s", text)
	}
	for _, cluster := range []string{"n1=" + f.Members()[0].PeerURL(), wrong} {
		p := startEtcd(t, append(args, cluster)...)
		harness.Await(t, "the proxy forwards", func() bool { return responds(http.StatusOK) })
		(&proxy{proc: p}).stop()
	}
}
