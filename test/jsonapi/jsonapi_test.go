// Package jsonapi drives a real server over HTTP as curl does: v3's JSON, its websocket, the
// probes, and their access control.
//
// It owns the tests of what is visible over HTTP. Responses that etcd 3.4 gives, too, are checked
// in a form that both have, so that the tests can be run against Debian's (see package harness);
// differences are named where they occur.
//
// Concurrency: tests run one after the other, each on its own server or on its own keys.
package jsonapi

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"cairn/internal/v3electionpb"
	"cairn/internal/v3lockpb"
	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func do(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// b64 is a key or value as JSON encodes it.
func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// contains reports whether every member of want is in got with the same value; lists have the same
// length.
func contains(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		members, ok := got.(map[string]any)
		for name, value := range want {
			ok = ok && contains(members[name], value)
		}
		return ok
	case []any:
		list, ok := got.([]any)
		ok = ok && len(list) == len(want)
		for i := range want {
			ok = ok && contains(list[i], want[i])
		}
		return ok
	}
	return got == want
}

// TestCalls replays a conversation. The required members of a response are given as JSON; others
// are ignored.
func TestCalls(t *testing.T) {
	server := harness.Start(t)
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"kv/put", `{"key":"` + b64("a") + `","value":"` + b64("1") + `"}`, 200, `{"header":{"revision":"2","raft_term":"2"}}`},
		{"kv/put", `{"key":"` + b64("a") + `","value":"` + b64("2") + `","prev_kv":true}`, 200, `{"prev_kv":{"value":"` + b64("1") + `"}}`},
		{"kv/range", `{"key":"` + b64("a") + `"}`, 200, `{"count":"1","kvs":[{"key":"` + b64("a") + `","create_revision":"2","mod_revision":"3","version":"2","value":"` + b64("2") + `"}]}`},
		{"kv/range", `{"key":"` + b64("a") + `","revision":2}`, 200, `{"kvs":[{"value":"` + b64("1") + `"}]}`},
		{"kv/range", `{"key":"AA==","range_end":"AA==","sort_order":"DESCEND","keys_only":true}`, 200, `{"count":"1","kvs":[{"key":"` + b64("a") + `"}]}`},
		{"kv/range", `{}`, 400, `{"error":"etcdserver: key is not provided","code":3,"message":"etcdserver: key is not provided"}`},
		{"kv/range", `{"key":"` + b64("a") + `","revision":99}`, 400, `{"code":11,"message":"etcdserver: mvcc: required revision is a future revision"}`},
		{
			"kv/txn", `{"compare":[{"key":"` + b64("a") + `","target":"VERSION","version":"2"}],"success":[{"request_put":{"key":"` + b64("b") + `"}},{"requestRange":{"key":"` + b64("b") + `"}}]}`, 200,
			`{"succeeded":true,"responses":[{"response_put":{"header":{"revision":"4"}}},{"response_range":{"count":"1"}}]}`,
		},
		{"kv/deleterange", `{"key":"` + b64("b") + `","prev_kv":true}`, 200, `{"deleted":"1","prev_kvs":[{"key":"` + b64("b") + `"}]}`},
		{"kv/compaction", `{"revision":"4","physical":true}`, 200, `{"header":{"revision":"5"}}`},
		{"kv/range", `{"key":"` + b64("a") + `","revision":2}`, 400, `{"code":11,"message":"etcdserver: mvcc: required revision has been compacted"}`},
		{"lease/grant", `{"ID":7,"TTL":"100"}`, 200, `{"ID":"7","TTL":"100"}`},
		{"lease/grant", `{"ID":7,"TTL":"100"}`, 412, `{"code":9,"message":"etcdserver: lease already exists"}`},
		{"lease/timetolive", `{"ID":"7","keys":true}`, 200, `{"ID":"7","grantedTTL":"100"}`},
		{"kv/lease/timetolive", `{"ID":"8"}`, 200, `{"ID":"8","TTL":"-1"}`},
		{"lease/leases", `{}`, 200, `{"leases":[{"ID":"7"}]}`},
		{"kv/lease/leases", `{}`, 200, `{"leases":[{"ID":"7"}]}`},
		{"lease/keepalive", `{"ID":7}`, 200, `{"result":{"ID":"7","TTL":"100"}}`},
		{"lock/lock", `{"name":"` + b64("l") + `","lease":7}`, 200, `{"key":"` + b64("l/7") + `"}`},
		{"lock/unlock", `{"key":"` + b64("l/7") + `"}`, 200, `{}`},
		{"election/campaign", `{"name":"` + b64("e") + `","lease":7,"value":"` + b64("me") + `"}`, 200, `{"leader":{"name":"` + b64("e") + `","key":"` + b64("e/7") + `","lease":"7"}}`},
		{"election/leader", `{"name":"` + b64("e") + `"}`, 200, `{"kv":{"value":"` + b64("me") + `"}}`},
		{"lease/revoke", `{"ID":7}`, 200, `{}`},
		{"election/leader", `{"name":"` + b64("e") + `"}`, 500, `{"code":2,"message":"election: no leader"}`},
		{"kv/lease/revoke", `{"ID":7}`, 404, `{"code":5,"message":"etcdserver: requested lease not found"}`},
		{"maintenance/status", `{}`, 200, `{"leader":"` + leaderID(t, server) + `"}`},
		{"maintenance/alarm", `{}`, 200, `{}`},
		{"maintenance/defragment", `{}`, 200, `{}`},
		{"cluster/member/list", `{}`, 200, `{"members":[{"name":"default","clientURLs":["` + server.URL() + `"]}]}`},
		{"auth/authenticate", `{"name":"root","password":"x"}`, 412, `{"code":9,"message":"etcdserver: authentication is not enabled"}`},
		{"auth/user/add", `{"name":"root","password":"secret"}`, 200, `{}`},
		{"auth/role/add", `{"name":"root"}`, 200, `{}`},
		{"auth/user/grant", `{"user":"root","role":"root"}`, 200, `{}`},
		{"auth/enable", `{}`, 200, `{}`},
		{"kv/range", `{"key":"` + b64("a") + `"}`, 400, `{"code":3,"message":"etcdserver: user name is empty"}`},
		{"auth/authenticate", `{"name":"root","password":"wrong"}`, 400, `{"code":3,"message":"etcdserver: authentication failed, invalid user ID or password"}`},
	} {
		status := c.status
		if status == http.StatusPreconditionFailed && harness.Reference(t) == "" {
			// FailedPrecondition is 412 up to 3.5, and 400 in 3.6 and 3.7
			status = http.StatusBadRequest
		}
		resp, text := do(t, http.MethodPost, server.URL()+"/v3/"+c.path, c.body)
		var got, want any
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || resp.StatusCode != status || !contains(got, want) {
			t.Errorf("%s %s: %d %s\nwant %d %s", c.path, c.body, resp.StatusCode, text, status, c.want)
		}
	}
	// The token goes into Authorization.
	_, text := do(t, http.MethodPost, server.URL()+"/v3/auth/authenticate", `{"name":"root","password":"secret"}`)
	var login struct{ Token string }
	if err := json.Unmarshal([]byte(text), &login); err != nil || login.Token == "" {
		t.Fatal(text, err)
	}
	for token, want := range map[string]int{login.Token: http.StatusOK, "nonsense": http.StatusUnauthorized} {
		if resp, text := do(t, http.MethodPost, server.URL()+"/v3/kv/range", `{"key":"`+b64("a")+`"}`, "Authorization", token); resp.StatusCode != want {
			t.Errorf("token %s: %d %s", token, resp.StatusCode, text)
		}
	}
}

// leaderID requests the only member's ID from v2, in decimal.
func leaderID(t *testing.T, server *harness.Server) string {
	t.Helper()
	_, text := do(t, http.MethodGet, server.URL()+"/v2/members/leader", "")
	var leader struct{ ID string }
	if err := json.Unmarshal([]byte(text), &leader); err != nil {
		t.Fatal(text, err)
	}
	id, err := strconv.ParseUint(leader.ID, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatUint(id, 10)
}

// services are the published services with HTTP paths.
func services() (all []protoreflect.ServiceDescriptor) {
	for _, file := range []protoreflect.FileDescriptor{etcdserverpb.File_rpc_proto, v3lockpb.File_v3lock_proto, v3electionpb.File_v3election_proto} {
		for i := range file.Services().Len() {
			all = append(all, file.Services().Get(i))
		}
	}
	return all
}

// TestEveryPath requests each path of the published API.
func TestEveryPath(t *testing.T) {
	if harness.Reference(t) != "" {
		t.Skip("etcd 3.4 does not have them all")
	}
	server := harness.Start(t)
	paths := 0
	for _, service := range services() {
		methods := service.Methods()
		for j := range methods.Len() {
			rule, _ := proto.GetExtension(methods.Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
			for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
				if r.GetPost() == "" {
					continue
				}
				paths++
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL()+r.GetPost(), strings.NewReader("{"))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				cancel()
				// A partial request is refused by the service, which shows that the path exists.
				if resp.StatusCode == http.StatusNotFound {
					t.Errorf("%s: %s", r.GetPost(), resp.Status)
				}
			}
		}
	}
	if paths < 50 {
		t.Errorf("only %d paths", paths)
	}
}

// TestWatch watches from the past into the future, over HTTP and over a websocket.
func TestWatch(t *testing.T) {
	server := harness.Start(t)
	put := func(value string) {
		do(t, http.MethodPost, server.URL()+"/v3/kv/put", fmt.Sprintf(`{"key":"%s","value":"%s"}`, b64("k"), b64(value)))
	}
	const create = `{"create_request":{"key":"aw==","start_revision":2}}`
	put("1")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL()+"/v3/watch", strings.NewReader(create))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	socket, upgraded, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+server.Address()+"/v3/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	upgraded.Body.Close()
	defer socket.Close()
	if err := socket.WriteMessage(websocket.TextMessage, []byte(create)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`"created":true`, b64("1"), b64("2")} {
		if i == 2 {
			put("2")
		}
		if !lines.Scan() || !strings.Contains(lines.Text(), want) || !strings.HasPrefix(lines.Text(), `{"result":{"header":{`) {
			t.Fatalf("%q %v, want %s", lines.Text(), lines.Err(), want)
		}
		if _, message, err := socket.ReadMessage(); err != nil || !strings.Contains(string(message), want) {
			t.Fatalf("%s %v, want %s", message, err, want)
		}
	}
}

// TestOverHTTP2 sends JSON over a connection that could carry gRPC, too.
func TestOverHTTP2(t *testing.T) {
	if harness.Reference(t) != "" {
		t.Skip("etcd treats HTTP/2 without TLS as gRPC")
	}
	server := harness.Start(t)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	body, requests := io.Pipe()
	go io.WriteString(requests, `{"create_request":{"key":"aw=="}}`)
	resp, err := client.Post(server.URL()+"/v3/watch", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer requests.Close()
	lines := bufio.NewScanner(resp.Body)
	for _, want := range []string{`"created":true`, `"created":true,"watch_id":"1"`} {
		if strings.Contains(want, "watch_id") {
			go io.WriteString(requests, `{"create_request":{"key":"aw=="}}`)
		}
		text := ""
		if lines.Scan() {
			text = lines.Text()
		}
		var got struct {
			Result struct {
				Created bool
				WatchID string `json:"watch_id"`
			}
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || !got.Result.Created || strings.Contains(want, "watch_id") != (got.Result.WatchID == "1") {
			t.Fatalf("%q %v %d, want %s", text, err, resp.ProtoMajor, want)
		}
	}
	if resp.ProtoMajor != 2 {
		t.Errorf("over %s", resp.Proto)
	}
}

// TestAccess sends the headers of browsers.
func TestAccess(t *testing.T) {
	server := harness.Start(t, "--cors", "http://a.example:80,http://b.example:1", "--host-whitelist", "127.0.0.1,etcd.example")
	for _, c := range []struct {
		method, path, host, origin string
		status                     int
		allowed                    string
	}{
		{"POST", "/v3/kv/range", "", "http://a.example:80", 200, "http://a.example:80"},
		{"OPTIONS", "/v3/kv/range", "", "http://b.example:1", 200, "http://b.example:1"},
		{"OPTIONS", "/v2/keys/x", "", "http://b.example:1", 200, "http://b.example:1"},
		{"GET", "/version", "etcd.example:2379", "http://a.example:80", 200, "http://a.example:80"},
		{"GET", "/version", "etcd.example", "http://c.example", 200, ""},
		{"GET", "/version", "evil.example", "", 421, ""},
		{"OPTIONS", "/v2/keys", "evil.example:80", "http://a.example:80", 421, ""},
		{"POST", "/v3/kv/range", "localhost", "", 421, ""},
	} {
		headers := []string{"Origin", c.origin}
		if c.host != "" {
			headers = append(headers, "Host", c.host)
		}
		resp, text := do(t, c.method, server.URL()+c.path, `{"key":"aw=="}`, headers...)
		if resp.StatusCode != c.status || resp.Header.Get("Access-Control-Allow-Origin") != c.allowed {
			t.Errorf("%+v: %d %q", c, resp.StatusCode, resp.Header.Get("Access-Control-Allow-Origin"))
		}
		if methods := resp.Header.Get("Access-Control-Allow-Methods"); (methods == "POST, GET, OPTIONS, PUT, DELETE") != (c.allowed != "") {
			t.Errorf("%+v: methods %q", c, methods)
		}
		if name, _, _ := strings.Cut(c.host, ":"); c.status == 421 && !strings.Contains(text, "\n  - e.g. etcd --host-whitelist \""+name+"\"\n") {
			t.Errorf("%+v: %s", c, text)
		}
	}
}
