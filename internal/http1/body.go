package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"cairn/internal/budget"
)

// body is the body of a request. It is an io.ReadCloser for the handler, which may read it in
// another goroutine than it writes the response in.
type body struct {
	x       *exchange
	chunked bool

	mu    sync.Mutex // guards the fields below
	left  int64      // unread bytes: of the body, or of the chunk
	begun bool       // a chunk has been read
	// bytes of the chunks' first lines in excess of their data: see chunkLine
	excess          int64
	expectsContinue bool // the client waits for 100 Continue before it sends the body
	done            bool // the body was read to its end
	closed          bool
	err             error     // of an earlier read
	until           time.Time // the deadline of draining, while it is in progress
	pace            budget.Pace
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	}
	return b.readLocked(p)
}

func (b *body) readLocked(p []byte) (n int, err error) {
	if b.done {
		return 0, io.EOF
	}
	if err = b.sendContinue(); err == nil && b.chunked && b.left == 0 {
		err = b.nextChunk()
	}
	if err == nil && b.left > 0 {
		n, err = b.take(p)
	}
	switch {
	case err != nil:
		b.err = fmt.Errorf("read body: %w", err)
		return n, b.err
	case b.left > 0 || b.chunked && n > 0:
		return n, nil
	}
	b.done = true
	b.x.bodyRead()
	return n, io.EOF
}

// sendContinue sends 100 Continue to a client that waits for it.
func (b *body) sendContinue() error {
	if !b.expectsContinue {
		return nil
	}
	b.expectsContinue = false
	c := b.x.conn
	return c.socket.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"), b.x.limit(c.srv.opts.WriteTimeout), c.srv.opts.LeastRate)
}

var errBodyNotWanted = errors.New("the response began before the body was read")

// tooLateToContinue reports whether the client still waits for 100 Continue. Once the response has
// begun, 100 Continue cannot be sent.
func (b *body) tooLateToContinue() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.expectsContinue {
		return false
	}
	b.expectsContinue, b.err = false, errBodyNotWanted
	return true
}

// take reads from the rest of the body or chunk, which must not be empty, up to len(p) bytes.
func (b *body) take(p []byte) (n int, err error) {
	c := b.x.conn
	p = p[:min(int64(len(p)), b.left)]
	if ahead := c.socket.ahead(); len(ahead) > 0 {
		n = copy(p, ahead)
		c.socket.skip(n)
	} else {
		begun := time.Now()
		if n, err = c.socket.read(p, b.limit()); errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		b.pace.Add(time.Since(begun), n)
	}
	b.left -= int64(n)
	return n, err
}

// limit returns how long a read may wait.
func (b *body) limit() time.Duration {
	if !b.until.IsZero() {
		return max(time.Until(b.until), time.Nanosecond)
	}
	return b.pace.Limit(b.x.readLimit(), b.x.conn.srv.opts.LeastRate)
}

// Maximum bytes of a chunk's first line, and of all trailers together.
const (
	chunkLineMax = 1 << 10
	trailersMax  = 8 << 10
)

// nextChunk reads the first line of the next chunk, or the trailers after the last one. left is 0
// after the last.
func (b *body) nextChunk() error {
	if b.begun {
		switch line, err := b.line(0); {
		case err != nil:
			return err
		case line != "":
			return errChunk
		}
	}
	b.begun = true
	var err error
	if b.left, err = b.chunkLine(); err != nil || b.left > 0 {
		return err
	}
	for total := 0; ; {
		line, err := b.line(trailersMax - total)
		if err != nil || line == "" {
			return err
		}
		if name, value, ok := strings.Cut(line, ":"); !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return errChunk
		}
		total += len(line) + 2
	}
}

// The bytes of a chunk's first line that do not count as excess, per byte of the chunk's data, and
// the maximum excess of a body: no honest client sends a kilobyte of extensions for each byte.
const (
	chunkLineUsual = 16
	chunkExcessMax = 16 << 10
)

// chunkLine reads a chunk's first line, and returns its size.
func (b *body) chunkLine() (size int64, err error) {
	line, err := b.line(chunkLineMax)
	if err != nil {
		return 0, err
	}
	digits, extensions, _ := strings.Cut(line, ";") // extensions are ignored
	n, err := strconv.ParseUint(strings.TrimRight(digits, " \t"), 16, 63)
	if err != nil || !httpguts.ValidHeaderFieldValue(extensions) {
		return 0, errChunk
	}
	size = int64(n)
	if b.excess += int64(len(line)) - min(size, chunkLineMax) - chunkLineUsual; b.excess > chunkExcessMax {
		return 0, errChunk
	}
	b.excess = max(b.excess, 0)
	return size, nil
}

var errChunk = errors.New("malformed chunked encoding")

// line reads a line of up to limit bytes. Unlike a head's it must end with a carriage return and a
// line feed (RFC 9112, 2.2 and 7.1): some proxies treat a lone line feed as part of an extension,
// so that a request could be hidden in it.
func (b *body) line(limit int) (string, error) {
	s := &b.x.conn.socket
	for {
		ahead := s.ahead()
		n := bytes.IndexByte(ahead, '\n')
		if n > limit+1 || n < 0 && len(ahead) > limit+1 {
			return "", errChunk
		}
		if n >= 0 {
			text, ok := bytes.CutSuffix(ahead[:n], []byte("\r"))
			line := string(text)
			s.skip(n + 1)
			if !ok {
				return "", errChunk
			}
			return line, nil
		}
		s.grow(2 * trailersMax)
		had, begun := len(s.ahead()), time.Now()
		err := s.fill(b.limit())
		b.pace.Add(time.Since(begun), len(s.ahead())-had)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
	}
}

// Close implements io.Closer. The rest of the body is drained when the response ends.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// readOverMax is how much of an unread body is drained to keep the connection.
const readOverMax = 256 << 10

// readOver reads the rest of the body, and reports whether it reached the end.
func (b *body) readOver() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.done && b.err == nil && b.left <= readOverMax {
		b.readOverLocked()
	}
	return b.done
}

// readOverLocked takes in total at most the time that the handler may wait for one read, regardless
// of the deadlines that it has set.
func (b *body) readOverLocked() {
	b.until = time.Now().Add(b.x.conn.srv.opts.ReadTimeout)
	defer func() { b.until = time.Time{} }()
	piece := make([]byte, 4<<10)
	for total := 0; !b.done && total <= readOverMax; {
		n, err := b.readLocked(piece)
		if total += n; err != nil || time.Now().After(b.until) {
			return
		}
	}
}

// drain reads the rest of the body if the connection should be kept, and reports whether it can be.
// It closes the body.
func (b *body) drain(keep bool) bool {
	over := keep && b.readOver()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return over
}
