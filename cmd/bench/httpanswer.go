package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

const (
	// bytes of an answer's status line and headers, and of a line between chunks
	headMax        = 64 << 10
	bytesKept      = 64 << 10 // of an answer's body: enough for what an error says
	interimMax     = 5        // answers 1xx before the one that counts
	answerReadSize = 4 << 10
)

// answerReader reads HTTP/1.1 answers one behind the other from a connection. It accepts what RFC
// 9112 lets a server send to a client that asks for no encodings, and nothing else: malformed
// answers must show up as errors.
type answerReader struct {
	from io.Reader
	buf  []byte // buf[r:w] is read and not yet taken
	r, w int
	body []byte // the first of the answer's body

	begun bool // something came since the owner last cleared it
}

// answerHead is what an answer's status line and headers say about what follows.
type answerHead struct {
	status  int
	length  int64 // -1: not said
	chunked bool
	close   bool // no answer follows on the connection
}

// reset makes the reader begin a new connection.
func (a *answerReader) reset(from io.Reader) { a.from, a.r, a.w = from, 0, 0 }

// empty returns whether all that came is taken.
func (a *answerReader) empty() bool { return a.r == a.w }

// next reads an answer to its end. It returns the first bytesKept of its body, valid until the next
// call, and whether the connection may be used again. An error that comes with a status came in the
// middle of the body.
func (a *answerReader) next() (status int, body []byte, keep bool, err error) {
	head, err := a.head()
	for range interimMax {
		if err != nil || head.status >= 200 {
			break
		}
		head, err = a.head()
	}
	if err == nil && head.status < 200 {
		err = fmt.Errorf("more than %d interim answers, the last of status %d", interimMax, head.status)
	}
	if err != nil {
		return 0, nil, false, err
	}
	a.body = a.body[:0]
	switch {
	case head.status == http.StatusNoContent || head.status == http.StatusNotModified: // never has a body
	case head.chunked:
		err = a.chunks()
	case head.length >= 0:
		err = a.take(head.length)
	default:
		head.close = true
		err = a.takeAll()
	}
	if err == nil && !a.empty() {
		err = fmt.Errorf("answer of status %d is followed by %.40q, for which nothing asked", head.status, a.buf[a.r:a.w])
	}
	return head.status, a.body, err == nil && !head.close, err
}

// fill reads more behind what is not yet taken, which may move.
func (a *answerReader) fill() error {
	switch {
	case a.r == a.w:
		a.r, a.w = 0, 0
	case a.w == len(a.buf):
		a.w, a.r = copy(a.buf, a.buf[a.r:a.w]), 0
	}
	if a.w == len(a.buf) {
		a.buf = append(make([]byte, 0, 2*len(a.buf)+answerReadSize), a.buf...)
		a.buf = a.buf[:cap(a.buf)]
	}
	n, err := a.from.Read(a.buf[a.w:])
	a.w += n
	if n > 0 {
		a.begun = true
		return nil // the error comes again
	}
	return err
}

// head reads a status line and headers.
func (a *answerReader) head() (answerHead, error) {
	head := answerHead{length: -1}
	line, err := a.line(headMax)
	if errors.Is(err, io.EOF) && !a.begun {
		return head, errors.New("server closed the connection before it answered")
	}
	if err != nil {
		return head, fmt.Errorf("read status line: %w", noEOF(err))
	}
	left := headMax - len(line)
	if err := head.parseStatus(line); err != nil {
		return head, err
	}
	for {
		line, err := a.line(left)
		if err != nil {
			return head, fmt.Errorf("read headers: %w", noEOF(err))
		}
		if len(line) == 0 {
			return head, head.check()
		}
		left -= len(line)
		if err := head.parseHeader(line); err != nil {
			return head, err
		}
	}
}

// line takes a line of up to limit bytes and returns it without its end, valid until the next read.
func (a *answerReader) line(limit int) ([]byte, error) {
	for seen := 0; ; {
		if i := bytes.IndexByte(a.buf[a.r+seen:a.w], '\n'); i >= 0 {
			line := a.buf[a.r : a.r+seen+i]
			if len(line) == 0 || line[len(line)-1] != '\r' {
				return nil, fmt.Errorf("line %.40q does not end in CR LF", line)
			}
			if len(line) > limit {
				return nil, fmt.Errorf("head of more than %d bytes", headMax)
			}
			a.r += len(line) + 1
			return line[:len(line)-1], nil
		}
		seen = a.w - a.r
		if seen > limit {
			return nil, fmt.Errorf("head of more than %d bytes", headMax)
		}
		if err := a.fill(); err != nil {
			return nil, err
		}
	}
}

// parseStatus reads "HTTP/1.1 200 OK".
func (h *answerHead) parseStatus(line []byte) error {
	status, versioned := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !versioned {
		if status, versioned = bytes.CutPrefix(line, []byte("HTTP/1.0 ")); versioned {
			h.close = true
		}
	}
	if !versioned || len(status) < 3 || len(status) > 3 && status[3] != ' ' {
		return fmt.Errorf("status line %.60q: want HTTP/1.1 and a status", line)
	}
	for _, digit := range status[:3] {
		if digit < '0' || digit > '9' {
			return fmt.Errorf("status line %.60q: want three digits", line)
		}
		h.status = 10*h.status + int(digit-'0')
	}
	if h.status < 100 || h.status == http.StatusSwitchingProtocols {
		return fmt.Errorf("status line %.60q: no such answer to this request", line)
	}
	return nil
}

func (h *answerHead) parseHeader(line []byte) error {
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found || len(name) == 0 || bytes.ContainsAny(name, " \t") {
		return fmt.Errorf("header %.60q: want NAME: VALUE", line)
	}
	value = bytes.Trim(value, " \t")
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		length, err := parseDigits(value, 10)
		if err != nil || h.length >= 0 && h.length != length {
			return fmt.Errorf("header %.60q: want one length", line)
		}
		h.length = length
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		if h.chunked || !bytes.EqualFold(value, []byte("chunked")) {
			return fmt.Errorf("header %.60q: want chunked, the only encoding that was offered", line)
		}
		h.chunked = true
	case bytes.EqualFold(name, []byte("Connection")):
		for token := range bytes.SplitSeq(value, []byte(",")) {
			if bytes.EqualFold(bytes.Trim(token, " \t"), []byte("close")) {
				h.close = true
			}
		}
	}
	return nil
}

// check rejects what would leave it open where the answer ends.
func (h *answerHead) check() error {
	if h.chunked && h.length >= 0 {
		return errors.New("answer with both a Content-Length and chunks")
	}
	return nil
}

// chunks takes a body in chunks, and the trailer behind it.
func (a *answerReader) chunks() error {
	for {
		line, err := a.line(headMax)
		if err != nil {
			return noEOF(err)
		}
		// extensions may follow, of which none is known
		digits, _, _ := bytes.Cut(line, []byte(";"))
		size, err := parseDigits(bytes.TrimRight(digits, " \t"), 16)
		if err != nil {
			return fmt.Errorf("chunk size %.40q: %w", line, err)
		}
		if size == 0 {
			break
		}
		if err := a.take(size); err != nil {
			return err
		}
		line, err = a.line(headMax)
		if err != nil {
			return noEOF(err)
		}
		if len(line) > 0 {
			return fmt.Errorf("chunk of %d bytes is followed by %.40q instead of a line's end", size, line)
		}
	}
	left := headMax
	for {
		line, err := a.line(left)
		if err != nil || len(line) == 0 {
			return noEOF(err)
		}
		left -= len(line)
	}
}

// take takes n bytes of a body.
func (a *answerReader) take(n int64) error {
	for n > 0 {
		if a.empty() {
			if err := a.fill(); err != nil {
				return noEOF(err)
			}
		}
		piece := a.buf[a.r:min(a.w, a.r+int(min(n, int64(len(a.buf)))))]
		a.keep(piece)
		a.r += len(piece)
		n -= int64(len(piece))
	}
	return nil
}

// takeAll takes a body that ends with the connection.
func (a *answerReader) takeAll() error {
	for {
		a.keep(a.buf[a.r:a.w])
		a.r = a.w
		if err := a.fill(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (a *answerReader) keep(piece []byte) {
	a.body = append(a.body, piece[:min(len(piece), bytesKept-len(a.body))]...)
}

// noEOF makes an end in the middle an error that says so.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseDigits reads a number that fits 62 bits and consists of digits alone: no sign, no "0x", no
// underscores.
func parseDigits(text []byte, base int) (int64, error) {
	n, err := strconv.ParseUint(string(text), base, 62)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no number", text)
	}
	return int64(n), nil
}
