package http1

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// Requests that two servers in a row may parse differently are refused, and nothing behind them is
// served.
func TestNothingSmuggled(t *testing.T) {
	var smuggled atomic.Int64
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/smuggled" {
			smuggled.Add(1)
		}
		_, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	const chunked, zeros = "Transfer-Encoding: chunked\r\n", "0000000000000000"
	for _, rest := range []string{
		// Two lengths, or an invalid one.
		"Content-Length: 4\r\n" + chunked + "\r\n",
		chunked + "Content-Length: 4\r\n\r\n",
		"Content-Length: 4, 4\r\n\r\n",
		"Content-Length: 4\r\nContent-Length: 04\r\n\r\n",
		"Content-Length: +4\r\n\r\n",
		"Content-Length: 0x4\r\n\r\n",
		"Content-Length: 1_0\r\n\r\n",
		"Content-Length: 4 4\r\n\r\n",
		"Content-Length: 9223372036854775808\r\n\r\n",
		"Content-Length:\r\n\r\n",
		"Content-Length : 4\r\n\r\n",
		"Content-Length\r\n : 4\r\n\r\n",
		"X: y\r\n Content-Length: 4\r\n\r\n",
		"X: y\rContent-Length: 4\r\n\r\n",
		"X: y\x00\r\n\r\n",
		" X: y\r\n\r\n",
		"X\x00: y\r\n\r\n",
		": y\r\n\r\n",
		"\rX: y\r\n\r\n",
		"X: y\r\r\n\r\n",
		"Host: b\r\n\r\n",
		// Codings.
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"Transfer-Encoding: chunked, identity\r\n\r\n",
		"Transfer-Encoding: identity\r\n\r\n",
		"Transfer-Encoding: xchunked\r\n\r\n",
		"Transfer-Encoding: \"chunked\"\r\n\r\n",
		"Transfer-Encoding: chun\u212aed\r\n\r\n",
		"Transfer-Encoding: \x0bchunked\r\n\r\n",
		"Transfer-Encoding:\r\n chunked\r\n\r\n",
		"Transfer-Encoding: chunked\r \r\n\r\n",
		"Transfer-Encoding:\r\n\r\n",
		// Chunks.
		chunked + "\r\n0x4\r\nbody\r\n0\r\n\r\n",
		chunked + "\r\n+4\r\nbody\r\n0\r\n\r\n",
		chunked + "\r\n 4\r\nbody\r\n0\r\n\r\n",
		chunked + "\r\n4_\r\nbody\r\n0\r\n\r\n",
		chunked + "\r\n;x\r\nbody\r\n0\r\n\r\n",
		chunked + "\r\n1" + zeros + "\r\nbody\r\n0\r\n\r\n",
		chunked + "\r\n4;x\nbody\r\n0\r\n\r\n",
		chunked + "\r\n4\nbody\r\n0\r\n\r\n",
		chunked + "\r\n4;x\ry\r\nbody\r\n0\r\n\r\n",
		chunked + "\r\n4\rbody\r\n0\r\n\r\n",
		chunked + "\r\n4\r\nbody\n0\r\n\r\n",
		chunked + "\r\n4\r\nbody0\r\n\r\n",
		chunked + "\r\n4\r\nbodyxx0\r\n\r\n",
		chunked + "\r\n4\r\nbody\r\n\r\n0\r\n\r\n",
		// Trailers.
		chunked + "\r\n0\r\nX: y\n\n",
		chunked + "\r\n0\n\n",
		chunked + "\r\n0\r\nX : y\r\n\r\n",
		chunked + "\r\n0\r\nX: y\r\n folded\r\n\r\n",
		chunked + "\r\n0\r\nX: y\rZ: y\r\n\r\n",
		chunked + "\r\n0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
	} {
		c := dial(t, s.address)
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+rest+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, _ := c.hear("POST"); resp.StatusCode < 400 || !resp.Close {
			t.Errorf("%q: %s, close %v", rest, resp.Status, resp.Close)
		}
		c.wantEnd()
	}
	for _, line := range []string{
		"POST  / HTTP/1.1", "POST /\tHTTP/1.1", "POST / HTTP/1.1 ", "POST / HTTP/1.1\r", "POST / HTTP/1.10", "POST / http/1.1", " POST / HTTP/1.1",
		"POST / HTTP/01.1", "POST /\x00 HTTP/1.1", "POST /\r HTTP/1.1", "POST", "POST /", "\rPOST / HTTP/1.1", "\x00POST / HTTP/1.1", "P\xd6ST / HTTP/1.1",
	} {
		c := dial(t, s.address)
		io.WriteString(c, line+"\r\nHost: a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, _ := c.hear("POST"); resp.StatusCode < 400 || !resp.Close {
			t.Errorf("%q: %s, close %v", line, resp.Status, resp.Close)
		}
		c.wantEnd()
	}
	c := dial(t, s.address)
	io.WriteString(c, "POST / HTTP/1.0\r\n"+chunked+"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, _ := c.hear("POST"); resp.StatusCode < 400 {
		t.Error("chunked in HTTP/1.0:", resp.Status)
	}
	if n := smuggled.Load(); n > 0 {
		t.Errorf("%d requests smuggled", n)
	}
}

// Unusual but unambiguous requests are accepted.
func TestOddChunks(t *testing.T) {
	s := handle(t, echo)
	c := dial(t, s.address)
	for _, text := range []string{
		strings.Repeat("0", 500) + "4\nbody\n0\n\n",
		"4 \t;x=\"y\";z\nbody\n000\nX: y\nZ:\n\n",
		"1\nb\n1;" + strings.Repeat("x", 1000) + "\no\n2\ndy\n0\n\n",
	} {
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked \r\n\r\n"+strings.ReplaceAll(text, "\n", "\r\n"))
		c.want("/ body <nil>")
	}
}

// Chunks that consist almost only of extensions are not read without limit (as CVE-2023-39326 in
// net/http).
func TestChunkExtensions(t *testing.T) {
	s := handle(t, echo)
	c := dial(t, s.address).say("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n")
	go func() {
		for range 1000 {
			if _, err := fmt.Fprintf(c, "1;%01000d\r\nx\r\n", 0); err != nil {
				return
			}
		}
		io.WriteString(c, "0\r\n\r\n")
	}()
	if _, body := c.hear("POST"); !strings.Contains(body, errChunk.Error()) {
		t.Fatalf("%.100q", body)
	}
}
