package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

const messageBytesMax = 1 << 16

// kvServer returns its own key for a range, and the metadata of the call for a put.
type kvServer struct {
	etcdserverpb.UnimplementedKVServer
}

func (kvServer) Range(_ context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	switch string(r.Key) {
	case "":
		return nil, status.Error(codes.InvalidArgument, "etcdserver: key is not provided")
	case "anonymous":
		return nil, status.Error(codes.Unauthenticated, "etcdserver: invalid auth token")
	}
	return &etcdserverpb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: r.Key, Value: []byte{0xff, 0}, ModRevision: 1 << 60}}, Count: 1}, nil
}

func (kvServer) Put(ctx context.Context, _ *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	from, _ := peer.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	if err := grpc.SetHeader(ctx, metadata.Pairs("seen", "yes")); err != nil {
		return nil, err
	}
	heard := fmt.Sprint(md["authorization"], md["token"], from.Addr.Network(), time.Until(deadline).Round(time.Hour))
	return &etcdserverpb.PutResponse{PrevKv: &mvccpb.KeyValue{Value: []byte(heard)}}, nil
}

// watchServer responds to each request with the key in it; "end" ends the stream, and "fail" ends
// it with an error.
type watchServer struct {
	etcdserverpb.UnimplementedWatchServer
	ended chan error
}

func (s *watchServer) Watch(stream etcdserverpb.Watch_WatchServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				<-stream.Context().Done()
			}
			s.ended <- err
			return err
		}
		switch key := string(req.GetCreateRequest().GetKey()); key {
		case "end":
			return nil
		case "fail":
			return status.Error(codes.Unavailable, "etcdserver: server stopped")
		default:
			if err := stream.Send(&etcdserverpb.WatchResponse{Created: true, CancelReason: key}); err != nil {
				s.ended <- err
				return err
			}
		}
	}
}

type maintenanceServer struct {
	etcdserverpb.UnimplementedMaintenanceServer
}

func (maintenanceServer) Snapshot(_ *etcdserverpb.SnapshotRequest, stream etcdserverpb.Maintenance_SnapshotServer) error {
	for _, blob := range []string{"a", "b"} {
		if err := stream.Send(&etcdserverpb.SnapshotResponse{Blob: []byte(blob)}); err != nil {
			return err
		}
	}
	return nil
}

// allowedOrigin is allowed for browsers, as with --cors.
const allowedOrigin = "https://console.example"

func start(t *testing.T) (url string, watches *watchServer) {
	t.Helper()
	g := New(Options{MessageBytesMax: messageBytesMax, AllowOrigin: func(origin, _ string) bool { return origin == allowedOrigin }})
	watches = &watchServer{ended: make(chan error, 10)}
	etcdserverpb.RegisterKVServer(g, kvServer{})
	etcdserverpb.RegisterWatchServer(g, watches)
	etcdserverpb.RegisterMaintenanceServer(g, maintenanceServer{})
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	return server.URL, watches
}

func post(t *testing.T, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
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

func key(s string) string {
	return fmt.Sprintf(`{"key":%q}`, base64.StdEncoding.EncodeToString([]byte(s)))
}

func TestUnary(t *testing.T) {
	url, _ := start(t)
	const found = `{"kvs":[{"key":"/w==","mod_revision":"1152921504606846976","value":"/wA="}],"count":"1"}`
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/v3/kv/range", `{"key":"/w=="}`, 200, found},
		{"/v3beta/kv/range", `{"key":"/w=="}`, 200, found},
		{"/v3alpha/kv/range", `{"key":"/w=="}`, 200, found},
		{"/v3/kv/range", `{"key":"_w"}`, 200, found}, // URL's base64, without padding
		{"/v3/kv/range", `{"key":"/w==", "unknown":[{}]}`, 200, found},
		{"/v3/kv/range", `{"key":"/w==","range_end":null,"limit":"0","sortOrder":"NONE"} and more`, 200, found},
		{"/v3/kv/range", `{}`, 400, `{"error":"etcdserver: key is not provided","code":3,"message":"etcdserver: key is not provided"}`},
		{"/v3/kv/range", ``, 400, `{"error":"etcdserver: key is not provided","code":3,"message":"etcdserver: key is not provided"}`},
		{"/v3/kv/range", key("anonymous"), 401, `{"error":"etcdserver: invalid auth token","code":16,"message":"etcdserver: invalid auth token"}`},
		{"/v3/kv/range", `{"key":`, 400, `{"error":"unexpected EOF","code":3,"message":"unexpected EOF"}`},
		{"/v3/kv/range/x", `{}`, 404, `{"error":"Not Found","code":5,"message":"Not Found"}`},
		{"/v3/", `{}`, 404, `{"error":"Not Found","code":5,"message":"Not Found"}`},
		{"/v3/kv/compaction", `{}`, 501, `{"error":"method Compact not implemented","code":12,"message":"method Compact not implemented"}`},
		{"/v3/lease/grant", `{}`, 404, `{"error":"Not Found","code":5,"message":"Not Found"}`}, // the service is not registered
	} {
		resp, body := post(t, url+c.path, c.body)
		if resp.StatusCode != c.status || body != c.want || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %q %s\nwant %d %s", c.path, c.body, resp.StatusCode, resp.Header.Get("Content-Type"), body, c.status, c.want)
		}
	}
	for path, want := range map[string]int{"/v3/kv/range": http.StatusNotImplemented, "/v3/": http.StatusNotFound, "/v3/x": http.StatusNotFound} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s: %d", path, resp.StatusCode)
		}
	}
}

// Everything that a call carries besides its message arrives.
func TestCallContext(t *testing.T) {
	url, _ := start(t)
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{[]string{"Authorization", "T", "Grpc-Timeout", "5H"}, "[T][]tcp5h0m0s"},
		{[]string{"Authorization", "Bearer T", "Grpc-Timeout", "300M"}, "[T][]tcp5h0m0s"},
		{[]string{"Grpc-Metadata-Token", "T", "Grpc-Timeout", "18000S"}, "[][T]tcp5h0m0s"},
	} {
		resp, body := post(t, url+"/v3/kv/put", `{}`, c.headers...)
		var got struct {
			PrevKV struct{ Value []byte } `json:"prev_kv"`
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || strings.ReplaceAll(string(got.PrevKV.Value), " ", "") != c.want {
			t.Errorf("%q: %v %q, want %q", c.headers, err, got.PrevKV.Value, c.want)
		}
		if resp.Header.Get("Grpc-Metadata-Seen") != "yes" || resp.Header.Get("Grpc-Metadata-Content-Type") != "application/grpc" {
			t.Errorf("%q: headers %v", c.headers, resp.Header)
		}
	}
	for header, want := range map[string]int{"1n": http.StatusGatewayTimeout, "1x": http.StatusBadRequest} {
		if resp, body := post(t, url+"/v3/kv/put", `{}`, "Grpc-Timeout", header); resp.StatusCode != want {
			t.Errorf("Grpc-Timeout %s: %d %s", header, resp.StatusCode, body)
		}
	}
}

func TestLimits(t *testing.T) {
	url, _ := start(t)
	long, blanks := strings.Repeat("x", messageBytesMax), strings.Repeat(" ", 3*messageBytesMax)
	blanksError := fmt.Sprintf("request body larger than %d bytes", 2*messageBytesMax+4096)
	for _, c := range []struct{ path, body, want string }{
		{"/v3/kv/range", key(long), fmt.Sprintf("grpc: received message larger than max (%d vs. %d)", messageBytesMax+4, messageBytesMax)},
		{"/v3/watch", create(long), fmt.Sprintf("grpc: received message larger than max (%d vs. %d)", messageBytesMax+8, messageBytesMax)},
		{"/v3/kv/range", blanks, blanksError},
		{"/v3/watch", blanks, blanksError},
	} {
		resp, text := post(t, url+c.path, c.body)
		if resp.StatusCode != http.StatusTooManyRequests || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s, want %s", c.path, resp.StatusCode, text, c.want)
		}
	}
	// A stream may last for any time.
	messages := strings.Repeat(`{"create_request":`+key(strings.Repeat("x", messageBytesMax/2))+`}`, 8) + `{"create_request":` + key("end") + `}`
	resp, text := post(t, url+"/v3/watch", messages)
	if resp.StatusCode != http.StatusOK || strings.Count(text, "\n") != 8 {
		t.Errorf("%d, %d lines", resp.StatusCode, strings.Count(text, "\n"))
	}
}

func TestServerStream(t *testing.T) {
	url, _ := start(t)
	for _, body := range []string{"{}", ""} {
		resp, text := post(t, url+"/v3/maintenance/snapshot", body)
		if want := "{\"result\":{\"blob\":\"YQ==\"}}\n{\"result\":{\"blob\":\"Yg==\"}}\n"; resp.StatusCode != http.StatusOK || text != want {
			t.Errorf("%d %q", resp.StatusCode, text)
		}
	}
	if resp, text := post(t, url+"/v3/maintenance/snapshot", "{"); resp.StatusCode != http.StatusBadRequest || text != `{"error":"unexpected EOF","code":3,"message":"unexpected EOF"}` {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
}

const failure = `{"error":{"code":14,"message":"etcdserver: server stopped","grpc_code":14,"http_code":503,"http_status":"Service Unavailable"}}`

func create(k string) string { return `{"create_request":` + key(k) + "}" }

// Responses arrive while the request's body is still being sent.
func TestBidirectionalStream(t *testing.T) {
	url, _ := start(t)
	body, requests := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, url+"/v3/watch", body)
	if err != nil {
		t.Fatal(err)
	}
	go io.WriteString(requests, create("one"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for i, want := range []string{"one", "two", "three"} {
		if i > 0 {
			io.WriteString(requests, create(want))
		}
		line, err := lines.ReadString('\n')
		if err != nil || line != `{"result":{"created":true,"cancel_reason":"`+want+"\"}}\n" {
			t.Fatalf("%q %v", line, err)
		}
	}
	// The handler ends although the client continues: the response must end, too.
	io.WriteString(requests, create("fail"))
	rest, err := io.ReadAll(lines)
	if err != nil || string(rest) != failure+"\n" {
		t.Fatalf("%q %v", rest, err)
	}
	requests.Close()
}

func TestStreamErrorsFirst(t *testing.T) {
	url, _ := start(t)
	resp, text := post(t, url+"/v3/watch", create("fail"))
	if resp.StatusCode != http.StatusServiceUnavailable || text != failure+"\n" {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
}

// When a client disconnects, the handler of its stream ends.
func TestClientGoes(t *testing.T) {
	url, watches := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v3/watch", strings.NewReader(create("one")))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-watches.ended
}

func TestWebsocket(t *testing.T) {
	url, watches := start(t)
	dial := func(path string, header http.Header, protocols ...string) *websocket.Conn {
		t.Helper()
		d := websocket.Dialer{Subprotocols: protocols}
		conn, resp, err := d.Dial("ws"+strings.TrimPrefix(url, "http")+path, header)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	exchange := func(conn *websocket.Conn, send, want string) {
		t.Helper()
		if err := conn.WriteMessage(websocket.TextMessage, []byte(send)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.ReadMessage(); err != nil || !bytes.Contains(got, []byte(want)) {
			t.Fatalf("%s: %s %v, want %s", send, got, err, want)
		}
	}
	conn := dial("/v3/watch", nil)
	exchange(conn, create("one"), `{"result":{"created":true,"cancel_reason":"one"}}`)
	exchange(conn, create("two"), `{"result":{"created":true,"cancel_reason":"two"}}`)
	exchange(conn, create("fail"), failure)
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("the end: %v", err)
	}
	conn = dial("/v3alpha/watch", nil)
	exchange(conn, create("one"), `"one"`)
	conn.Close()
	<-watches.ended

	for _, c := range []struct {
		header    http.Header
		protocols []string
	}{
		{nil, []string{"Bearer", "T"}},
		{http.Header{"Cookie": {"token=T"}}, nil},
		{http.Header{"Authorization": {"T"}}, nil},
	} {
		conn := dial("/v3/kv/put", c.header, c.protocols...)
		exchange(conn, `{}`, base64.StdEncoding.EncodeToString([]byte("[T] []")))
	}
	// A browser adds the cookie to the scripts of every page; it is accepted only from this
	// server's pages.
	conn = dial("/v3/kv/put", http.Header{"Cookie": {"token=T"}, "Origin": {url}})
	exchange(conn, `{}`, base64.StdEncoding.EncodeToString([]byte("[T] []")))
	conn = dial("/v3/kv/put", http.Header{"Cookie": {"token=T"}, "Origin": {allowedOrigin}})
	exchange(conn, `{}`, `W10gW1`)
	conn = dial("/v3/kv/put", http.Header{"Origin": {allowedOrigin}}, "Bearer", "T")
	exchange(conn, `{}`, base64.StdEncoding.EncodeToString([]byte("[T] []")))
	for _, origin := range []string{"http://evil.example", "null", "://", "http://" + strings.TrimPrefix(url, "http://") + ".evil.example"} {
		_, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/v3/watch", http.Header{"Origin": {origin}})
		if err == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("a websocket of origin %q: %v", origin, err)
		}
	}
	// A message beyond the limit ends the connection, and nothing else.
	conn = dial("/v3/watch", nil)
	_ = conn.WriteMessage(websocket.TextMessage, make([]byte, 3*messageBytesMax))
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			break
		}
	}
	exchange(dial("/v3/watch", nil), create("one"), `"one"`)
	// A request for an unknown path is refused before the upgrade.
	if _, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/v3/nothing", nil); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("a websocket on no path: %v", err)
	}
}

func BenchmarkUnary(b *testing.B) {
	g := New(Options{MessageBytesMax: messageBytesMax})
	etcdserverpb.RegisterKVServer(g, kvServer{})
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/v3/kv/range", strings.NewReader(`{"key":"/w=="}`))
		g.ServeHTTP(httptest.NewRecorder(), r)
	}
}

// TestMethodOverride compares with grpc-gateway's own mux: the header applies to POSTs of forms,
// whose body is then a form. It responds 501 to a method that is not allowed.
func TestMethodOverride(t *testing.T) {
	url, _ := start(t)
	const form, override = "application/x-www-form-urlencoded", "X-HTTP-Method-Override"
	full, _ := post(t, url+"/v3/kv/range", key("a"))
	if full.StatusCode != http.StatusOK {
		t.Fatalf("status %d without any header", full.StatusCode)
	}
	for _, c := range []struct {
		path, body, contentType, method string
		status                          int
	}{
		{"/v3/kv/range", key("a"), form, "", http.StatusOK}, // as curl -d sends it
		{"/v3/kv/range", key("a"), form, "GET", http.StatusNotImplemented},
		{"/v3/kv/range", key("a"), form, "delete", http.StatusNotImplemented},
		{"/v3/kv/range", key("a"), "application/json", "GET", http.StatusOK},
		{"/v3/kv/range", key("a"), "", "PUT", http.StatusOK},
		{"/v3/kv/range", "%zz", form, "POST", http.StatusBadRequest},
		{"/v3/kv/nowhere", "", form, "GET", http.StatusNotFound},
	} {
		resp, text := post(t, url+c.path, c.body, "Content-Type", c.contentType, override, c.method)
		if resp.StatusCode != c.status {
			t.Errorf("%s of %s as %q by %q: status %d, want %d: %s", c.path, c.body, c.contentType, c.method, resp.StatusCode, c.status, text)
		}
	}
	// A body that is not JSON gets the response to an empty request: it was parsed as a form.
	_, empty := post(t, url+"/v3/kv/range", "", "Content-Type", form)
	if _, text := post(t, url+"/v3/kv/range", "key=YQ==", "Content-Type", form, override, "post"); text != empty {
		t.Errorf("response to a form: %s, to an empty request: %s", text, empty)
	}
}
