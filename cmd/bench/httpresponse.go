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
	// bytes of a response's status line and headers, and of a line between chunks
	headMax          = 64 << 10
	bytesKept        = 64 << 10 // of a response's body: enough for an error message
	interimMax       = 5        // responses 1xx before the final one
	responseReadSize = 4 << 10
)

// responseReader reads consecutive HTTP/1.1 responses from a connection. It accepts what RFC 9112
// lets a server send to a client that accepts no encodings, and nothing else: malformed responses
// must show up as errors.
type responseReader struct {
	from io.Reader
	buf  []byte // buf[r:w] is read and not yet consumed
	r, w int
	body []byte // the start of the response's body

	begun bool // bytes arrived since the owner last cleared it
}

// responseHead has the parts of a response's status line and headers that determine its framing.
type responseHead struct {
	status  int
	length  int64 // -1: not declared
	chunked bool
	close   bool // no response follows on the connection
}

// reset prepares the reader for a new connection.
func (a *responseReader) reset(from io.Reader) { a.from, a.r, a.w = from, 0, 0 }

// empty reports whether all received bytes are consumed.
func (a *responseReader) empty() bool { return a.r == a.w }

// next reads a response to its end. It returns the first bytesKept of its body, valid until the
// next call, and whether the connection may be used again. An error that comes with a status
// occurred in the body.
func (a *responseReader) next() (status int, body []byte, keep bool, err error) {
	head, err := a.head()
	for range interimMax {
		if err != nil || head.status >= 200 {
			break
		}
		head, err = a.head()
	}
	if err == nil && head.status < 200 {
		err = fmt.Errorf("more than %d interim responses, the last of status %d", interimMax, head.status)
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
		err = fmt.Errorf("response of status %d is followed by %.40q, which was not requested", head.status, a.buf[a.r:a.w])
	}
	return head.status, a.body, err == nil && !head.close, err
}

// fill reads more bytes behind the unconsumed ones, which may move.
func (a *responseReader) fill() error {
	switch {
	case a.r == a.w:
		a.r, a.w = 0, 0
	case a.w == len(a.buf):
		a.w, a.r = copy(a.buf, a.buf[a.r:a.w]), 0
	}
	if a.w == len(a.buf) {
		a.buf = append(make([]byte, 0, 2*len(a.buf)+responseReadSize), a.buf...)
		a.buf = a.buf[:cap(a.buf)]
	}
	n, err := a.from.Read(a.buf[a.w:])
	a.w += n
	if n > 0 {
		a.begun = true
		return nil // the next call returns the error again
	}
	return err
}

// head reads a status line and headers.
func (a *responseReader) head() (responseHead, error) {
	head := responseHead{length: -1}
	line, err := a.line(headMax)
	if errors.Is(err, io.EOF) && !a.begun {
		return head, errors.New("server closed the connection before it responded")
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

// line consumes a line of up to limit bytes and returns it without its end, valid until the next
// read.
func (a *responseReader) line(limit int) ([]byte, error) {
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
func (h *responseHead) parseStatus(line []byte) error {
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
		return fmt.Errorf("status line %.60q: not a valid response to this request", line)
	}
	return nil
}

func (h *responseHead) parseHeader(line []byte) error {
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

// check rejects heads that leave the end of the response undefined.
func (h *responseHead) check() error {
	if h.chunked && h.length >= 0 {
		return errors.New("response with both a Content-Length and chunks")
	}
	return nil
}

// chunks reads a body in chunks, and its trailer.
func (a *responseReader) chunks() error {
	for {
		line, err := a.line(headMax)
		if err != nil {
			return noEOF(err)
		}
		// unknown extensions may follow
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

// take reads n bytes of a body.
func (a *responseReader) take(n int64) error {
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

// takeAll reads a body that ends with the connection.
func (a *responseReader) takeAll() error {
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

func (a *responseReader) keep(piece []byte) {
	a.body = append(a.body, piece[:min(len(piece), bytesKept-len(a.body))]...)
}

// noEOF turns io.EOF into io.ErrUnexpectedEOF.
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
		return 0, fmt.Errorf("%.40q is not a number", text)
	}
	return int64(n), nil
}
