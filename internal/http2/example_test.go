package http2_test

import (
	"fmt"
	"io"
	"net"
	"net/http"

	"cairn/internal/http2"
)

// greeter is a protocol of one response.
type greeter struct{}

// Accept implements http2.Protocol.
func (greeter) Accept(*http2.Conn) http2.ConnHandler { return greeter{} }

// Open implements http2.ConnHandler.
func (greeter) Open(r *http2.Request) http2.Handler { return &greeting{path: r.Path} }

// greeting serves one request. It embeds the stream.
type greeting struct {
	http2.Stream
	path string
}

// Started starts the handler as soon as the header fields have arrived.
func (g *greeting) Started(bool) { g.Run() }

// Received drops the body.
func (g *greeting) Received([]byte, bool) (inline bool) { return false }

// Serve runs on a worker.
func (g *greeting) Serve(*http2.Worker) (reading bool) {
	text := []byte("hello from " + g.path)
	g.LockServed(false)
	g.HeadersLocked(http2.AppendStatus(g.BeginLocked(), 200), false)
	g.SendLocked(text, nil)
	g.FinishLocked()
	return g.UnlockServed()
}

// AppendEnd ends the response without trailers.
func (g *greeting) AppendEnd() { g.EmptyDataLocked() }

// Value returns no values.
func (g *greeting) Value(any) any { return nil }

// A protocol makes a Handler for each request, which embeds the Stream.
func ExampleServer() {
	server := http2.NewServer(http2.Options{Protocol: greeter{}})
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(nc, preface); err == nil {
			server.ServeConn(nc, preface, nil, func() {})
		}
	}()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	res, err := (&http.Client{Transport: transport}).Get("http://" + l.Addr().String() + "/example")
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Println(res.Proto, res.StatusCode, string(body))
	// Output: HTTP/2.0 200 hello from /example
}
