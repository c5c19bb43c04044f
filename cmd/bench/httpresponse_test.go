package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// response is the result of next for one response.
type response struct {
	status int
	body   string
	keep   bool
}

// readResponses reads responses until the last on the connection, or an error.
func readResponses(from io.Reader) (got []response, err error) {
	var a responseReader
	a.reset(from)
	for {
		status, body, keep, err := a.next()
		if err != nil {
			return got, err
		}
		got = append(got, response{status, string(body), keep})
		if !keep {
			return got, nil
		}
	}
}

// howRead are ways in which the same bytes may arrive.
var howRead = map[string]func(io.Reader) io.Reader{
	"at once":           func(r io.Reader) io.Reader { return r },
	"byte by byte":      iotest.OneByteReader,
	"end with the last": iotest.DataErrReader,
}

func TestResponses(t *testing.T) {
	long := strings.Repeat("x", bytesKept+10_000)
	cases := []struct {
		name, wire string
		want       response
	}{
		{"with a length", "HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 5\r\n\r\nhello", response{200, "hello", true}},
		{"empty", "HTTP/1.1 201 Created\r\ncontent-length:0\r\n\r\n", response{201, "", true}},
		{"without a reason", "HTTP/1.1 404\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", response{404, "x", true}},
		{"never a body", "HTTP/1.1 204 No Content\r\n\r\n", response{204, "", true}},
		{"in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\nA ; ext=\"1\"\r\n, 10 bytes\r\n0\r\n\r\n", response{200, "hello, 10 bytes", true}},
		{"in chunks with a trailer", "HTTP/1.1 200 OK\r\nTRANSFER-ENCODING:chunked\r\n\r\n1\r\nx\r\n000\r\nA: b\r\nC: d\r\n\r\n", response{200, "x", true}},
		{"the last of the connection", "HTTP/1.1 500 no\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nno", response{500, "no", false}},
		{"that ends with the connection", "HTTP/1.1 200 OK\r\n\r\nall of it", response{200, "all of it", false}},
		{"of HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", response{200, "x", false}},
		{"behind interim ones", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", response{200, "x", true}},
		{"longer than is kept", "HTTP/1.1 200 OK\r\nContent-Length: 75536\r\n\r\n" + long, response{200, long[:bytesKept], true}},
		{"longer than is kept, in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12710\r\n" + long + "\r\n0\r\n\r\n", response{200, long[:bytesKept], true}},
		{"with a long head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 60_000) + "\r\nContent-Length: 1\r\n\r\nx", response{200, "x", true}},
	}
	for _, c := range cases {
		for how, read := range howRead {
			var a responseReader
			a.reset(read(strings.NewReader(c.wire)))
			status, body, keep, err := a.next()
			if got := (response{status, string(body), keep}); err != nil || got != c.want {
				t.Errorf("%s, %s: status %d, %d bytes %.40q, keep %v, error %v, want %d, %d bytes %.40q, %v", c.name, how,
					got.status, len(got.body), got.body, got.keep, err, c.want.status, len(c.want.body), c.want.body, c.want.keep)
			}
		}
	}
}

// Every response on a connection is read to its end and not a byte further.
func TestConsecutiveResponses(t *testing.T) {
	// net.Conn returns the bytes that have arrived, which for sequential requests is never more
	// than one response.
	one := "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
	two := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
	three := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nthree"
	got, err := readResponses(io.MultiReader(strings.NewReader(one), strings.NewReader(two), strings.NewReader(three)))
	if err != nil || len(got) != 3 || got[0].body != "one" || got[1].body != "two" || got[2] != (response{200, "three", false}) {
		t.Errorf("responses %v, error %v", got, err)
	}
}

func TestWrongResponses(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	const chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
	endless := strings.Repeat("z", headMax+1)
	cases := []struct{ name, wire, want string }{
		{"nothing", "", "closed the connection before it responded"},
		{"cut off in the status line", "HTTP/1.1 2", "unexpected EOF"},
		{"cut off in the headers", ok + "Content-Length: 3\r\n", "unexpected EOF"},
		{"cut off in the body", ok + "Content-Length: 3\r\n\r\nab", "unexpected EOF"},
		{"cut off in a chunk", chunked + "5\r\nhel", "unexpected EOF"},
		{"cut off between chunks", chunked + "2\r\nhe\r\n", "unexpected EOF"},
		{"cut off in the trailer", chunked + "0\r\n", "unexpected EOF"},
		{"another protocol", "SSH-2.0-x\r\n\r\n", "want HTTP/1.1"},
		{"another version", "HTTP/2.0 200 OK\r\n\r\n", "want HTTP/1.1"},
		{"no status", "HTTP/1.1 \r\n\r\n", "want HTTP/1.1 and a status"},
		{"a status of letters", "HTTP/1.1 2x0 OK\r\n\r\n", "three digits"},
		{"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "want HTTP/1.1 and a status"},
		{"a status below 100", "HTTP/1.1 099 OK\r\n\r\n", "not a valid response"},
		{"another protocol chosen", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "not a valid response"},
		{"endless interim responses", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 7), "more than 5 interim responses"},
		{"lines that end in LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "CR LF"},
		{"a header without a colon", ok + "Content-Length 3\r\n\r\nabc", "want NAME: VALUE"},
		{"a header with a space in its name", ok + "Content-Length : 3\r\n\r\nabc", "want NAME: VALUE"},
		{"a folded header", ok + "A: b\r\n c: d\r\n\r\n", "want NAME: VALUE"},
		{"a length of letters", ok + "Content-Length: abc\r\n\r\n", "want one length"},
		{"a negative length", ok + "Content-Length: -1\r\n\r\n", "want one length"},
		{"a length with a sign", ok + "Content-Length: +1\r\n\r\nx", "want one length"},
		{"a length beyond all", ok + "Content-Length: 99999999999999999999\r\n\r\n", "want one length"},
		{"two lengths", ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "want one length"},
		{"an encoding that was not requested", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", "want chunked"},
		{"a length and chunks", ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both"},
		{"a chunk without a size", chunked + "\r\n\r\n", "chunk size"},
		{"a chunk's size of other letters", chunked + "0x5\r\nhello\r\n", "chunk size"},
		{"a chunk longer than it says", chunked + "3\r\nhello\r\n0\r\n\r\n", "is followed by"},
		{"more than requested", ok + "Content-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n", "which was not requested"},
		{"a status line without end", "HTTP/1.1 200 " + endless, "head of more than 65536 bytes"},
		{"a header without end", ok + "A: " + endless, "head of more than 65536 bytes"},
		{"headers without end", ok + strings.Repeat("A: bbbbbbbbbbbbbbbb\r\n", 4096), "head of more than 65536 bytes"},
		{"a trailer without end", chunked + "0\r\n" + strings.Repeat("A: bbbbbbbbbbbbbbbb\r\n", 4096), "head of more than 65536 bytes"},
	}
	for _, c := range cases {
		for how, read := range howRead {
			// Excess bytes are detected only if they arrive together with the response.
			if how == "byte by byte" && c.name == "more than requested" {
				continue
			}
			var a responseReader
			a.reset(read(strings.NewReader(c.wire)))
			_, _, keep, err := a.next()
			if err == nil || keep || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: error %v, keep %v, want %q", c.name, how, err, keep, c.want)
			}
		}
	}
}

// A reader's own error is returned, with the response's status once there is one.
func TestAnswersThatBreakOff(t *testing.T) {
	broken := errors.New("cable cut")
	for wire, want := range map[string]int{"": 0, "HTTP/1.1 500 x\r\n": 0, "HTTP/1.1 500 x\r\nContent-Length: 9\r\n\r\nab": 500, "HTTP/1.1 500 x\r\n\r\nab": 500} {
		var a responseReader
		a.reset(io.MultiReader(strings.NewReader(wire), iotest.ErrReader(broken)))
		status, body, keep, err := a.next()
		if status != want || keep || !errors.Is(err, broken) || want != 0 && string(body) != "ab" {
			t.Errorf("%q: status %d, body %q, keep %v, error %v, want %d and the reader's error", wire, status, body, keep, err, want)
		}
	}
}

// On any input, the reader ends, within its memory limits.
func FuzzResponses(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), uint8(3))
	f.Add([]byte("HTTP/1.0 404 x\r\nConnection: close\r\n\r\n{}"), uint8(1))
	f.Fuzz(func(t *testing.T, wire []byte, piece uint8) {
		var a responseReader
		a.reset(&pieces{wire, int(piece) + 1})
		for {
			status, body, keep, err := a.next()
			if len(body) > bytesKept || len(a.buf) > 4*headMax || err == nil && status < 200 || err != nil && keep {
				t.Fatalf("status %d, body of %d bytes, buffer of %d, keep %v, error %v", status, len(body), len(a.buf), keep, err)
			}
			if !keep {
				return
			}
		}
	})
}

// pieces returns up to n bytes at a time.
type pieces struct {
	left []byte
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.left)
	p.left = p.left[n:]
	return n, nil
}
