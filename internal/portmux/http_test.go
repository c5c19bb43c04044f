package portmux_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cairn/test/grpctest"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/peer"
)

// mux serves the requests of the tests of both HTTP versions.
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
	m.HandleFunc("/parks", func(w http.ResponseWriter, _ *http.Request) {
		parker, ok := w.(interface{ Parks() bool })
		fmt.Fprint(w, ok && parker.Parks())
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
func onBoth(h http.Handler) grpctest.Options { return grpctest.Options{HTTP: h} }

func httpClients(t *testing.T) map[string]*http.Client {
	one := &http.Transport{}
	two := &http.Transport{Protocols: new(http.Protocols)}
	two.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(one.CloseIdleConnections)
	t.Cleanup(two.CloseIdleConnections)
	return map[string]*http.Client{"HTTP/1.1": {Transport: one}, "HTTP/2.0": {Transport: two}}
}

func TestHTTPOnTheSamePort(t *testing.T) {
	_, addr := grpctest.Start(t, onBoth(mux()), nil)
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
				res, err := c.Post(base+"/echo", "application/octet-stream", bytes.NewReader(grpctest.Pattern(n)))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != 201 || !bytes.Equal(body, grpctest.Pattern(n)) {
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
				t.Fatal("an aborted handler sent a response")
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
	if _, err := grpctest.Client(t, addr).EmptyCall(grpctest.Context(t), &pb.Empty{}); err != nil {
		t.Fatal(err)
	}
}

// A TLS client on a port without TLS gets an error at once, in a form that it reports.
func TestTLSOnAPlainPort(t *testing.T) {
	_, addr := grpctest.Start(t, onBoth(mux()), nil)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	if _, err := c.Get("https://" + addr); err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		t.Fatalf("HTTP: got %v", err)
	}
	err := grpctest.DialTLS(t, addr).Invoke(grpctest.Context(t), "/x/y", &pb.Empty{}, &pb.Empty{})
	if err == nil || !strings.Contains(err.Error(), "first record does not look like a TLS handshake") {
		t.Fatalf("gRPC: got %v", err)
	}
}

// A client without TLS on a TLS port gets a response that says so, in either version of HTTP.
func TestPlainOnATLSPort(t *testing.T) {
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	defer lender.Close()
	opts := onBoth(mux())
	opts.TLS = &tls.Config{Certificates: lender.TLS.Certificates}
	_, addr := grpctest.Start(t, opts, nil)
	const want = "use https:// instead of http://"
	res, err := http.Get("http://" + addr + "/hello")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), want) {
		t.Fatalf("status %d, body %q, error %v", res.StatusCode, body, err)
	}
	grpctest.RawOpen(t, addr).Until(func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok && !strings.Contains(string(g.DebugData()), want) {
			t.Fatalf("GOAWAY %q", g.DebugData())
		}
		return ok
	})
}

// The client's certificate reaches the handlers of all three protocols.
func TestClientCertificate(t *testing.T) {
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	defer lender.Close()
	config := &tls.Config{Certificates: lender.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert}
	want := lender.Certificate().Subject.String()
	opts := grpctest.Options{TLS: config, HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.PeerCertificates[0].Subject.String())
	})}
	_, addr := grpctest.Start(t, opts, &grpctest.Service{Unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		p, _ := peer.FromContext(ctx)
		info, ok := p.AuthInfo.(credentials.TLSInfo)
		if !ok {
			return nil, fmt.Errorf("AuthInfo is %T", p.AuthInfo)
		}
		return &pb.SimpleResponse{Username: info.State.PeerCertificates[0].Subject.String()}, nil
	}})
	client := &tls.Config{InsecureSkipVerify: true, Certificates: lender.TLS.Certificates}
	for _, two := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: client.Clone(), Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(!two)
		tr.Protocols.SetHTTP2(two)
		t.Cleanup(tr.CloseIdleConnections)
		res, err := (&http.Client{Transport: tr}).Get("https://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(body) != want || (res.ProtoMajor == 2) != two {
			t.Errorf("%s: subject %q, want %q", res.Proto, body, want)
		}
	}
	r, err := grpctest.Client(t, addr, grpc.WithTransportCredentials(credentials.NewTLS(client))).UnaryCall(grpctest.Context(t), &pb.SimpleRequest{})
	if err != nil || r.Username != want {
		t.Errorf("gRPC: subject %q, want %q, error %v", r.GetUsername(), want, err)
	}
}

func TestTLS(t *testing.T) {
	// lender provides httptest's certificate.
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	defer lender.Close()
	s := grpctest.New(onBoth(mux()))
	pb.RegisterTestServiceServer(s, &grpctest.Service{Unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		return &pb.SimpleResponse{Payload: &pb.Payload{Body: grpctest.Pattern(1 << 20)}}, grpctest.EchoMetadata(ctx)
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Mux.Serve(l, &tls.Config{Certificates: lender.TLS.Certificates})
	t.Cleanup(s.Close)
	for _, h2 := range []bool{false, true} {
		tr := lender.Client().Transport.(*http.Transport).Clone()
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetHTTP1(!h2)
		tr.Protocols.SetHTTP2(h2)
		res, err := (&http.Client{Transport: tr}).Get("https://" + l.Addr().String() + "/parks")
		if err != nil || (res.ProtoMajor == 2) != h2 {
			t.Fatal(res, err)
		}
		// Over HTTP/1 a long poll releases its goroutine's stack and its buffers.
		parks, err := io.ReadAll(res.Body)
		if err != nil || string(parks) != fmt.Sprint(!h2) {
			t.Errorf("HTTP/2: %v, parks: %s, error %v", h2, parks, err)
		}
		res.Body.Close()
		tr.CloseIdleConnections()
	}
	cc := grpctest.DialTLS(t, l.Addr().String())
	r, err := pb.NewTestServiceClient(cc).UnaryCall(grpctest.Context(t), &pb.SimpleRequest{})
	if err != nil || !bytes.Equal(r.Payload.Body, grpctest.Pattern(1<<20)) {
		t.Fatal(err)
	}
	grpctest.WantCode(t, cc.Invoke(grpctest.Context(t), "/x/y", &pb.Empty{}, &pb.Empty{}), codes.Unimplemented, "unknown service x")
}
