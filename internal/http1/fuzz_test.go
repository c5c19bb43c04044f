package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"
)

// hearing records the requests that handlers receive, by client.
type hearing struct {
	mu   sync.Mutex
	seen map[string][]string
}

func (h *hearing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	late := r.URL.Path == "/late" // it does not read the body
	request := fmt.Sprintf("%s %s %s", r.Method, r.RequestURI, r.Host)
	if !late {
		body, err := io.ReadAll(r.Body)
		if request += fmt.Sprintf(" %q", body); err != nil {
			request = "cut off"
		}
	}
	h.mu.Lock()
	h.seen[r.RemoteAddr] = append(h.seen[r.RemoteAddr], request)
	h.mu.Unlock()
	switch x, ours := w.(*exchange); {
	case r.URL.Path == "/flush":
		w.(http.Flusher).Flush()
	case r.URL.Path == "/done":
		_ = r.Context().Done()
	case ours && r.URL.Path == "/park":
		_ = r.Context().Done()
		go x.Wake()
		x.Park(time.Now().Add(time.Millisecond), func(bool) { io.WriteString(w, "parked") })
		return
	}
	io.WriteString(w, "heard")
}

func (h *hearing) of(client string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := h.seen[client]
	delete(h.seen, client)
	return seen
}

// FuzzConversation sends random bytes to a server, in pieces. The server must respond or close the
// connection, remove it, and continue to serve others; and the requests that it recognizes must be
// those that net/http's server recognizes, as far as it reads them.
func FuzzConversation(f *testing.F) {
	const get, head, chunked = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST %s HTTP/1.1\r\nHost: a\r\n", "Transfer-Encoding: chunked\r\n\r\n"
	for i, seed := range []string{
		get + get + "GET /park HTTP/1.1\r\nHost: a\r\n\r\n" + get,
		fmt.Sprintf(head, "/a") + "Content-Length: 4\r\n\r\nbody" + get,
		fmt.Sprintf(head, "/late") + chunked + "4;x\r\nbody\r\n00\r\nX: y\r\n\r\n" + get,
		fmt.Sprintf(head, "/flush") + "Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody" + get,
		fmt.Sprintf(head, "/done") + chunked + "4\r\nbody\r\n0\r\n\r\n" + get,
		fmt.Sprintf(head, "/park") + "Content-Length: 400000\r\n\r\nbody" + get,
		"GET http://b/x HTTP/1.0\nConnection: keep-alive\n\n" + get,
		"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + get,
	} {
		f.Add(seed, []byte{byte(i), 60, 1, 1, 1})
	}
	heard := &hearing{seen: make(map[string][]string)}
	ours := start(f, Options{Handler: heard})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	theirs := &http.Server{Handler: heard}
	go theirs.Serve(l)
	f.Cleanup(func() { theirs.Close() })
	honest := dial(f, ours.address)
	f.Fuzz(func(t *testing.T, text string, cuts []byte) {
		if len(text) > 100_000 {
			return
		}
		got, want := heard.of(sendInPieces(t, ours.address, text, cuts)), heard.of(sendInPieces(t, l.Addr().String(), text, nil))
		for i := range min(len(got), len(want)) {
			if got[i] == "cut off" || want[i] == "cut off" {
				break
			}
			if got[i] != want[i] {
				t.Fatalf("%q: request %d is %q, for net/http %q", text, i, got[i], want[i])
			}
		}
		honest.SetDeadline(time.Now().Add(patience))
		(&client{honest.Conn, t, honest.r}).say("GET / HTTP/1.1\nHost: a\n\n").want("heard")
		heard.of(honest.LocalAddr().String())
		soon(t, "closed", func() bool { return ours.open.Load() == 1 })
	})
}

// sendInPieces sends a text in pieces and reads all responses. It returns the client's address.
func sendInPieces(t *testing.T, address, text string, cuts []byte) (client string) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close() //nolint:errcheck // read to the end
	nc.SetDeadline(time.Now().Add(patience))
	go func() {
		rest := text
		for _, n := range cuts {
			n := min(int(n), len(rest))
			if _, err := io.WriteString(nc, rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
		io.WriteString(nc, rest)
		_ = nc.(*net.TCPConn).CloseWrite()
	}()
	r := bufio.NewReader(nc)
	if _, err := io.Copy(io.Discard, r); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%q: neither a response nor the end after %v", text, patience)
	}
	return nc.LocalAddr().String()
}
