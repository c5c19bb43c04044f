package v2http

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"cairn/internal/budget"
)

// name is one of the parameters of /v2/keys.
type name uint8

const (
	nValue name = iota
	nPrevValue
	nPrevIndex
	nPrevExist
	nTTL
	nDir
	nRecursive
	nSorted
	nWait
	nWaitIndex
	nStream
	nQuorum
	nRefresh
	nNoValueOnSuccess
	nameCount
)

var names = [nameCount]string{
	nValue: "value", nPrevValue: "prevValue", nPrevIndex: "prevIndex", nPrevExist: "prevExist", nTTL: "ttl",
	nDir: "dir", nRecursive: "recursive", nSorted: "sorted", nWait: "wait", nWaitIndex: "waitIndex",
	nStream: "stream", nQuorum: "quorum", nRefresh: "refresh", nNoValueOnSuccess: "noValueOnSuccess",
}

var byName = func() map[string]name {
	m := make(map[string]name, nameCount)
	for i, s := range names {
		m[s] = name(i)
	}
	return m
}()

// form has the parameters of a request: the first value of each, with those of the body before
// those of the query. It does the same as http.Request.ParseForm, with the same errors, without
// making maps: every request needs it.
type form struct {
	values [nameCount]string
	given  uint32 // a bit per name
	memory *bodyMemory
}

func (f *form) has(n name) bool { return f.given&(1<<n) != 0 }

// formBytesMax is ParseForm's maximum size of a body.
const formBytesMax = 10 << 20

// read parses the parameters of a request. Errors of the body take precedence over those of the
// query.
func (f *form) read(r *http.Request) error {
	var err error
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		err = f.readBody(r)
	}
	if qerr := f.parse(r.URL.RawQuery); err == nil {
		err = qerr
	}
	return err
}

const formType = "application/x-www-form-urlencoded"

func (f *form) readBody(r *http.Request) error {
	kind := r.Header.Get("Content-Type")
	var err error
	if kind != formType {
		if kind == "" {
			return nil // a body of another content type is not a form
		}
		if kind, _, err = mime.ParseMediaType(kind); kind != formType {
			return err
		}
	}
	body, rerr := readAll(r, f.memory)
	switch {
	case rerr != nil:
		return rerr
	case len(body) > formBytesMax:
		return errors.New("http: POST too large")
	}
	if perr := f.parse(body); err == nil {
		err = perr
	}
	return err
}

// bodyAheadBytes is the initial buffer for a body: enough for most requests. A Content-Length is
// only a claim, and a client that sends no body must not cost more.
const bodyAheadBytes = 2 << 10

// readAll returns the body, or as much of it as shows that it is too long.
func readAll(r *http.Request, memory *bodyMemory) (string, error) {
	buf := bodies.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= bodyKeptBytes {
			bodies.Put(buf)
		}
	}()
	*buf = (*buf)[:0]
	if n := r.ContentLength; n > 0 {
		// one byte more, so that the end is detected without growing again
		*buf = slices.Grow(*buf, int(min(n, bodyAheadBytes))+1)
	}
	for len(*buf) <= formBytesMax {
		*buf = slices.Grow(*buf, 1)
		if !memory.take(cap(*buf)) {
			return "", budget.ErrExhausted
		}
		n, err := r.Body.Read((*buf)[len(*buf):cap(*buf)])
		*buf = (*buf)[:len(*buf)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	return string(*buf), nil
}

// parse parses an encoded form or query. Invalid pieces are skipped, and the first error is
// returned; that of a semicolon takes precedence.
func (f *form) parse(s string) (err error) {
	for s != "" {
		var piece string
		piece, s, _ = strings.Cut(s, "&")
		if piece == "" {
			continue
		}
		if perr := f.parsePiece(piece); err == nil || errors.Is(perr, errSemicolon) {
			err = perr
		}
	}
	return err
}

var errSemicolon = errors.New("invalid semicolon separator in query")

func (f *form) parsePiece(piece string) error {
	if strings.Contains(piece, ";") {
		return errSemicolon
	}
	key, value, _ := strings.Cut(piece, "=")
	key, err := url.QueryUnescape(key)
	if err != nil {
		return err
	}
	if value, err = url.QueryUnescape(value); err != nil {
		return err
	}
	if n, known := byName[key]; known && !f.has(n) {
		f.given |= 1 << n
		f.values[n] = value
	}
	return nil
}
