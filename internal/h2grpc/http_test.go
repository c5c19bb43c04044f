package h2grpc_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"cairn/internal/h2grpc"
	"cairn/internal/http1"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
)

// mux answers what the tests of both HTTP versions ask for.
func mux() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.URL.Query().Get("q"), r.Header.Get("X-In"))
	})
	m.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		w.WriteHeader(http.StatusCreated)
		w.Write(b)
	})
	m.HandleFunc("/none", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	m.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		for i := 0; r.Context().Err() == nil; i++ {
			fmt.Fprintf(w, "line %d\n", i)
			w.(http.Flusher).Flush()
			if i == 2 {
				<-r.Context().Done()
			}
		}
	})
	m.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	return m
}

// onBoth serves a handler on both versions.
func onBoth(h http.Handler) h2grpc.Options {
	return h2grpc.Options{HTTP: h, HTTP1: http1.New(http1.Options{Handler: h})}
}

func httpClients(t *testing.T) map[string]*http.Client {
	one := &http.Transport{}
	two := &http.Transport{Protocols: new(http.Protocols)}
	two.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(one.CloseIdleConnections)
	t.Cleanup(two.CloseIdleConnections)
	return map[string]*http.Client{"HTTP/1.1": {Transport: one}, "HTTP/2.0": {Transport: two}}
}

func TestHTTPOnTheSamePort(t *testing.T) {
	_, addr := start(t, onBoth(mux()), nil)
	for proto, c := range httpClients(t) {
		t.Run(proto, func(t *testing.T) {
			base := "http://" + addr
			req, _ := http.NewRequest("GET", base+"/hello?q=a%20b", nil)
			req.Header.Set("X-In", "in")
			for range 3 {
				res, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.Proto != proto || res.Header.Get("X-Proto") != proto {
					t.Fatalf("spoke %s, server saw %s", res.Proto, res.Header.Get("X-Proto"))
				}
				if want := "GET " + addr + " a b in"; string(body) != want || res.ContentLength != int64(len(want)) {
					t.Fatalf("%q length %d", body, res.ContentLength)
				}
				if res.Header.Get("Content-Type") != "text/plain; charset=utf-8" || res.Header.Get("Date") == "" {
					t.Fatalf("headers %v", res.Header)
				}
			}
			for _, n := range []int{0, 1, 5000, 1 << 20} {
				res, err := c.Post(base+"/echo", "application/octet-stream", bytes.NewReader(pattern(n)))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != 201 || !bytes.Equal(body, pattern(n)) {
					t.Fatalf("%d bytes: status %d, %d bytes back, %v", n, res.StatusCode, len(body), err)
				}
			}
			res, err := c.Head(base + "/hello")
			if err != nil || res.StatusCode != 200 {
				t.Fatal(res, err)
			}
			if res, err = c.Get(base + "/none"); err != nil || res.StatusCode != 204 {
				t.Fatal(res, err)
			}
			if res, err = c.Get(base + "/missing"); err != nil || res.StatusCode != 404 {
				t.Fatal(res, err)
			}
			res.Body.Close()
			if _, err = c.Get(base + "/panic"); err == nil {
				t.Fatal("an aborted handler answered")
			}
			ctx, cancel := context.WithCancel(context.Background())
			req, _ = http.NewRequestWithContext(ctx, "GET", base+"/stream", nil)
			if res, err = c.Do(req); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(res.Body)
			for i := range 3 {
				if !lines.Scan() || lines.Text() != fmt.Sprintf("line %d", i) {
					t.Fatalf("line %d: %q %v", i, lines.Text(), lines.Err())
				}
			}
			cancel()
			if lines.Scan() {
				t.Fatal("more after cancel")
			}
			res.Body.Close()
		})
	}
	if _, err := client(t, addr).EmptyCall(testContext(t), &pb.Empty{}); err != nil {
		t.Fatal(err)
	}
}

// TestTLSWhereThereIsNone: who says https for http is told at once.
func TestTLSWhereThereIsNone(t *testing.T) {
	_, addr := start(t, onBoth(mux()), nil)
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 20 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true}}
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Second)
	defer cancel()
	nc, err := dialer.DialContext(ctx, "tcp", addr)
	if err == nil {
		nc.Close()
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %v, want the connection closed", err)
	}
}

// Without a handler, HTTP gets no answer on HTTP/1.x and gRPC's 415 on HTTP/2.
func TestNoHTTPHandler(t *testing.T) {
	_, addr := start(t, h2grpc.Options{}, nil)
	c := httpClients(t)
	if res, err := c["HTTP/1.1"].Get("http://" + addr); err == nil {
		t.Fatalf("got %v", res.Status)
	}
	res, err := c["HTTP/2.0"].Get("http://" + addr)
	if err != nil || res.StatusCode != http.StatusUnsupportedMediaType {
		t.Fatal(res, err)
	}
	res.Body.Close()
}

func TestTLS(t *testing.T) {
	// httptest only lends its certificate.
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	defer lender.Close()
	s := h2grpc.New(onBoth(mux()))
	pb.RegisterTestServiceServer(s, &testService{unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		return &pb.SimpleResponse{Payload: &pb.Payload{Body: pattern(1 << 20)}}, echoMetadata(ctx)
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(tls.NewListener(l, &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}))
	t.Cleanup(s.Close)
	for _, h2 := range []bool{false, true} {
		tr := lender.Client().Transport.(*http.Transport).Clone()
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetHTTP1(!h2)
		tr.Protocols.SetHTTP2(h2)
		res, err := (&http.Client{Transport: tr}).Get("https://" + l.Addr().String() + "/hello")
		if err != nil || (res.ProtoMajor == 2) != h2 {
			t.Fatal(res, err)
		}
		res.Body.Close()
		tr.CloseIdleConnections()
	}
	cc := dialTLS(t, l.Addr().String())
	r, err := pb.NewTestServiceClient(cc).UnaryCall(testContext(t), &pb.SimpleRequest{})
	if err != nil || !bytes.Equal(r.Payload.Body, pattern(1<<20)) {
		t.Fatal(err)
	}
	wantCode(t, cc.Invoke(testContext(t), "/x/y", &pb.Empty{}, &pb.Empty{}), codes.Unimplemented, "unknown service x")
}
