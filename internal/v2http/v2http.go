// Package v2http serves etcd's v2 HTTP API: keys, members, machines, statistics, users and roles.
//
// It owns the requests and answers on the wire: paths, parameters, their checks,
// headers, bodies, and the one table of errors (of keys; the other paths have a plainer
// one in message.go). What a write does is v2tree's business; how it gets there, a
// Backend's; which changes there are to tell, a watch.Hub's. Who may do what, package auth's.
//
// Bodies are written by hand, since every request has one: docs/formats is not
// concerned, the recorded answers of etcd are (../shared/conformance).
//
// A Handler is safe for concurrent use.
package v2http

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
	"cairn/internal/watch"
)

// Backend is the member behind a Handler.
type Backend interface {
	// ProposeV2 has a command applied. A refusal is a *v2tree.Error; what else
	// comes back is the member's failure, whose text is shown after "etcdserver: ".
	ProposeV2(ctx context.Context, c *v2tree.Command) (v2tree.Result, error)
	// Read returns the published state.
	Read() mvcc.Reading
	// WaitLinearizable returns when a Read after it sees all that was acknowledged
	// before it was called.
	WaitLinearizable(ctx context.Context) error
	// RaftStatus returns the applied index and the term.
	RaftStatus() (index, term uint64)
	// Now returns the cluster time.
	Now() kv.ClusterTime
	// ClusterID returns the cluster's ID in hexadecimal.
	ClusterID() string
}

// Handler serves the v2 API.
type Handler struct {
	b       Backend
	cluster Cluster    // see TellOf
	hub     *watch.Hub // see WatchFrom
	// authority is nil where everybody may do everything; see GuardBy.
	authority Authority
	counters  counters
	wall      func() time.Time // for the expiration times that are shown
	offset    atomic.Int64     // see wallAt
	clusterID []string         // as a header has it
}

// New returns a handler in front of b.
func New(b Backend) *Handler {
	return &Handler{b: b, wall: time.Now, clusterID: []string{b.ClusterID()}}
}

const keysPath = "/v2/keys"

// ServeHTTP answers a request for any path: those that v2 does not serve are not
// found. As in etcd, OPTIONS is answered with nothing whatever the path, and a
// path that is not clean is redirected, for every method.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return
	}
	at := r.URL.Path
	if at == "*" { // for OPTIONS only (RFC 9112, 3.2.4), and no path to redirect from
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if clean := cleanPath(at); clean != at {
		to := url.URL{Path: clean, RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, to.String(), http.StatusMovedPermanently)
		return
	}
	key, ok := strings.CutPrefix(at, keysPath)
	if !ok || key != "" && key[0] != '/' {
		h.serveOther(w, r)
		return
	}
	switch r.Method {
	case http.MethodHead, http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete:
		h.serveKeys(w, r, target{path: keyPath(key), sent: []byte(key)})
	default:
		refuseMethod(w, "HEAD,GET,PUT,POST,DELETE")
	}
}

// cleanPath returns a path without doubled slashes and dot segments; a slash at
// the end stays.
func cleanPath(p string) string {
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if p[len(p)-1] == '/' && clean != "/" {
		if len(p) == len(clean)+1 {
			return p
		}
		return clean + "/"
	}
	return clean
}

// keyPath returns the path of a node for what follows /v2/keys in a clean path.
func keyPath(rest string) []byte {
	if rest == "" {
		rest = "/"
	}
	if len(rest) > 1 && rest[len(rest)-1] == '/' {
		rest = rest[:len(rest)-1]
	}
	return []byte(rest)
}

func (h *Handler) serveKeys(w http.ResponseWriter, r *http.Request, t target) {
	w.Header()["X-Etcd-Cluster-Id"] = h.clusterID
	q, err := parseRequest(r)
	if err == nil && tooDeep(r.Method, t.path) {
		err = refuse(codeInvalidField, "the path has too many names for its length")
	}
	if err != nil {
		writeError(w, err)
		return
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		err = h.write(w, r, &t, q)
	case q.wait && !q.quorum: // etcd answers a quorum read at once
		err = h.watch(w, r, &t, q)
	default:
		err = h.read(w, r, &t, q)
	}
	if err != nil {
		writeError(w, err)
	}
}

// tooDeep reports whether v2 has no such path, or none for an in-order key below it.
func tooDeep(method string, path []byte) bool {
	if method == http.MethodPost {
		path = append(bytes.Clone(path), "/00000000000000000000"...)
	}
	return v2tree.TooDeep(path)
}

// read answers GET and HEAD.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, t *target, q request) error {
	if q.quorum {
		if err := h.b.WaitLinearizable(context.WithoutCancel(r.Context())); err != nil {
			return err
		}
	}
	var n v2tree.Node
	var index int64
	var now kv.ClusterTime
	err := h.asCaller(r, func(_ context.Context, c *caller) (err error) {
		if err := t.permitted(c.who.CanRead, q.recursive); err != nil {
			return err
		}
		now = h.b.Now()
		n, index, err = v2tree.Get(h.b.Read, t.path, q.recursive, now)
		if !h.stands(c) {
			return auth.OldRevision // what was read may be newer than the permission
		}
		h.counters.countGet(err)
		if err != nil {
			return err
		}
		c.show(&n)
		return nil
	})
	if err != nil {
		return err
	}
	h.answer(w, http.StatusOK, index, now, &event{action: "get", node: &n})
	return nil
}

// write answers PUT, POST and DELETE.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, t *target, q request) error {
	var res v2tree.Result
	err := h.asCaller(r, func(ctx context.Context, c *caller) (err error) {
		if err := t.permitted(c.who.CanWrite, q.recursive); err != nil {
			return err
		}
		command := q.command(r.Method, t.path, h.wall())
		res, err = h.b.ProposeV2(ctx, &command)
		return err
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if res.Created {
		status = http.StatusCreated
	}
	e := event{action: res.Action.String(), node: &res.Node}
	if res.HasPrev {
		e.prev = &res.Prev
	}
	if q.noValueOnSuccess && r.Method != http.MethodDelete {
		e.node, e.prev = nil, nil
	}
	h.answer(w, status, res.Index, res.At, &e)
	return nil
}

var jsonType = []string{"application/json"}

// offsetMax is how far the offset between wall clock and cluster time may be off before it is taken
// anew.
const offsetMax = time.Second

// wallAt returns a cluster time as the wall clock has it. The offset between the two is kept until
// one of them has stepped, so that the expiration of a node, which is a cluster time, is shown the
// same each time.
func (h *Handler) wallAt(t kv.ClusterTime) time.Time {
	offset, kept := h.wall().UnixNano()-int64(h.b.Now()), h.offset.Load()
	if time.Duration(offset-kept).Abs() <= offsetMax {
		offset = kept
	} else {
		h.offset.Store(offset)
	}
	return time.Unix(0, offset+int64(t))
}

// answer writes a success. at is the cluster time that what is left of TTLs counts from.
func (h *Handler) answer(w http.ResponseWriter, status int, v2Index int64, at kv.ClusterTime, e *event) {
	h.setIndexes(w.Header(), v2Index)
	buf := bodies.Get().(*[]byte)
	*buf = e.append((*buf)[:0], h.wallAt(at))
	writeBody(w, status, *buf)
	if cap(*buf) <= bodyKeptBytes {
		bodies.Put(buf)
	}
}

// setIndexes sets the headers that tell where the member and the store are.
func (h *Handler) setIndexes(head http.Header, v2Index int64) {
	index, term := h.b.RaftStatus()
	values := []string{strconv.FormatInt(v2Index, 10), strconv.FormatUint(index, 10), strconv.FormatUint(term, 10)}
	head["X-Etcd-Index"], head["X-Raft-Index"], head["X-Raft-Term"] = values[0:1:1], values[1:2:2], values[2:3:3]
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	head := w.Header()
	head["Content-Type"] = jsonType
	if len(body) > bodyCountedBytes {
		head["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; nobody is left to be told
}
