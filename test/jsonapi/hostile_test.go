package jsonapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"cairn/test/harness"
)

// connect opens a connection that is closed when the test ends.
func connect(t *testing.T, server *harness.Server) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", server.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

func grpcClient(t *testing.T, server *harness.Server) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient(server.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// TestRequestTooLarge sends requests above --max-request-bytes to every API: slightly and far
// above. v2 accepts forms of 10 MiB regardless.
func TestRequestTooLarge(t *testing.T) {
	server := harness.Start(t, "--max-request-bytes", "100000")
	kv := etcdserverpb.NewKVClient(grpcClient(t, server))
	for _, c := range []struct {
		bytes      int
		grpc       codes.Code
		text       string
		json       int
		wantV2Fail bool
	}{
		{90_000, codes.OK, "", http.StatusOK, false},
		{110_000, codes.InvalidArgument, "etcdserver: request is too large", http.StatusBadRequest, false},
		{700_000, codes.ResourceExhausted, "grpc: received message larger than max", http.StatusTooManyRequests, false},
		{20_000_000, codes.ResourceExhausted, "grpc: received message larger than max", http.StatusTooManyRequests, true},
	} {
		value := bytes.Repeat([]byte("x"), c.bytes)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		_, err := kv.Put(ctx, &etcdserverpb.PutRequest{Key: []byte("/k"), Value: value})
		cancel()
		if s := status.Convert(err); s.Code() != c.grpc || !strings.HasPrefix(s.Message(), c.text) {
			t.Errorf("%d bytes by gRPC: %v", c.bytes, err)
		}
		resp, text, err := try(t, http.MethodPost, server.URL()+"/v3/kv/put", `{"key":"`+b64("/k")+`","value":"`+b64(string(value))+`"}`)
		// The connection of a client that sends very much may be closed before it has read the
		// response.
		if err == nil && resp.StatusCode != c.json || err != nil && c.bytes < 1<<20 {
			t.Errorf("%d bytes of JSON: %v %.200s", c.bytes, err, text)
		}
		resp, text, err = try(t, http.MethodPut, server.URL()+"/v2/keys/k", url.Values{"value": {string(value)}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
		if err == nil && (resp.StatusCode >= 400) != c.wantV2Fail || err != nil && c.bytes < 1<<20 {
			t.Errorf("%d bytes of v2: %v %.200s", c.bytes, err, text)
		}
	}
}

// try is do for requests whose connection may be closed.
func try(t *testing.T, method, url, body string, headers ...string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

// TestKeepaliveFlags sets the flags to small values, and sends more pings, and later responses,
// than they allow.
func TestKeepaliveFlags(t *testing.T) {
	server := harness.Start(t, "--grpc-keepalive-min-time", "1h", "--grpc-keepalive-interval", "200ms", "--grpc-keepalive-timeout", "200ms", "--max-concurrent-streams", "7")
	open := func() *http2.Framer {
		nc := connect(t, server)
		_ = nc.SetDeadline(time.Now().Add(time.Minute))
		fr := http2.NewFramer(nc, nc)
		if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		if err := fr.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		return fr
	}
	rude := open()
	for i := range 10 {
		_ = rude.WritePing(false, [8]byte{byte(i)})
	}
	var settled, goAway bool
	for !goAway {
		f, err := rude.ReadFrame()
		if err != nil {
			t.Fatalf("no GOAWAY before %v", err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if n, ok := f.Value(http2.SettingMaxConcurrentStreams); ok && n == 7 {
				settled = true
			}
		case *http2.GoAwayFrame:
			goAway = f.ErrCode == http2.ErrCodeEnhanceYourCalm && string(f.DebugData()) == "too_many_pings"
		}
	}
	if !settled {
		t.Error("--max-concurrent-streams was not announced")
	}
	// A client that has disappeared silently: it is pinged, and then its connection is closed.
	silent, pinged := open(), false
	for {
		f, err := silent.ReadFrame()
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				t.Fatal("the connection stays open")
			}
			break
		}
		if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
			pinged = true
		}
	}
	if !pinged {
		t.Error("the connection was closed without a ping")
	}
}

// peakMemory returns the server's peak resident memory.
func peakMemory(t *testing.T, server *harness.Server) (bytes int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.PID()))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// TestHostileClients has many clients of each kind at once: some declare long bodies and send
// little, some send without end, some request much and do not read. Meanwhile another one is
// served, and the server's memory stays within its limit.
func TestHostileClients(t *testing.T) {
	if harness.Reference(t) != "" {
		t.Skip("etcd may do as it likes")
	}
	// With the limit the collector runs when necessary, independent of how busy the machine is.
	server := harness.Start(t, "--memory-limit", "512MiB")
	kv := etcdserverpb.NewKVClient(grpcClient(t, server))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	put := func(key string, value []byte) {
		t.Helper()
		if _, err := kv.Put(ctx, &etcdserverpb.PutRequest{Key: []byte(key), Value: value}); err != nil {
			t.Fatalf("the polite client: %v", err)
		}
	}
	for i := range 8 {
		put(fmt.Sprintf("/big/%d", i), bytes.Repeat([]byte("x"), 1<<20))
	}
	before := peakMemory(t, server)

	const each = 40
	var hostile sync.WaitGroup
	for i := range each {
		for _, say := range []string{
			// A declared length without a body.
			"PUT /v2/keys/k HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10000000\r\n\r\nvalue=",
			"POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n{\"key\":\"",
			"POST /v3/watch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n{\"create_request\":{\"key\":\"",
			// A partial request.
			"GET /v2/keys HTTP/1.1\r\nHost",
			"PRI * HTTP/2.0\r\n\r\nSM\r\n",
		} {
			if _, err := io.WriteString(connect(t, server), say); err != nil {
				t.Fatal(err)
			}
		}
		// Endless headers, and an endless body of blanks.
		for _, begin := range []string{"GET / HTTP/1.1\r\nHost: a\r\n", "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"} {
			nc := connect(t, server)
			hostile.Go(func() {
				_, _ = io.WriteString(nc, begin)
				piece := "X-" + strings.Repeat("a", 1000) + ": a\r\n"
				if strings.HasPrefix(begin, "POST") {
					piece = "3e8\r\n" + strings.Repeat(" ", 1000) + "\r\n"
				}
				for range 20_000 { // 20 MB
					if _, err := io.WriteString(nc, piece); err != nil {
						return
					}
				}
			})
		}
		// 8 MiB of v2's nodes that no client reads. As JSON of v3 they would be held once per
		// response.
		if i < 4 {
			if _, err := io.WriteString(connect(t, server), "GET /v2/keys/big?recursive=true HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := make(chan struct{})
	go func() { hostile.Wait(); close(done) }()
	for n, over := 0, false; !over || n < 100; n++ {
		put("/polite", []byte(strconv.Itoa(n)))
		select {
		case <-done:
			over = true
		default:
		}
	}
	if after := peakMemory(t, server); after-before > 300<<20 {
		t.Errorf("the server's memory grew from %d to %d MiB", before>>20, after>>20)
	}
}
