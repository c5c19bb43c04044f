// Package v2http serves etcd's v2 HTTP API: keys, members, machines, statistics, users and roles.
//
// It owns the requests and responses on the wire: paths, parameters and their validation, headers,
// bodies, and the one table of errors for keys (message.go has that of the other paths). It does
// not own the effect of a write (v2tree), how commands are proposed (Backend), the events
// (watch.Hub), nor users and permissions (auth).
//
// Bodies are encoded by hand-written code, since every request has one. Their form is that of etcd
// 3.1.5's recorded responses (../shared/conformance).
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
	"cairn/internal/budget"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/metrics"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
	"cairn/internal/watch"
)

// Backend is the member behind a Handler.
type Backend interface {
	// ProposeV2 proposes a command and waits until it is applied. A refusal is a *v2tree.Error;
	// every other error is the member's, whose text the client gets after "etcdserver: ".
	ProposeV2(ctx context.Context, c *v2tree.Command) (v2tree.Result, error)
	// CheckSpace returns why a command that needs space is refused now, or nil.
	CheckSpace() error
	// Read returns the published state.
	Read() mvcc.Reading
	// WaitLinearizable waits until Read returns a state with every write that had been
	// acknowledged when it was called.
	WaitLinearizable(ctx context.Context) error
	// RaftStatus returns the applied index and the term.
	RaftStatus() (index, term uint64)
	// Now returns the cluster time.
	Now() kv.ClusterTime
	// ClusterID returns the cluster's ID in hexadecimal.
	ClusterID() string
}

// Options are the parts of a member that a Handler serves. Only Backend is required.
type Options struct {
	Backend Backend
	// Cluster and Statistics serve members, machines and statistics; without Cluster these paths
	// are not found.
	Cluster    Cluster
	Statistics Statistics
	// Hub delivers the events of watches.
	Hub *watch.Hub
	// Authority authorizes requests, and serves users and roles; without it everything is
	// permitted, and the paths of users and roles are not found.
	Authority Authority
	// CommonNames makes the common name of a client's certificate its user, for requests without
	// credentials (--client-cert-auth).
	CommonNames bool
	// Counters are what the handler counts in; nil for its own.
	Counters *Counters
	// Requests counts requests for keys; nil counts none.
	Requests *metrics.V2Requests
}

// Handler serves the v2 API.
type Handler struct {
	b          Backend
	cluster    Cluster
	statistics Statistics
	hub        *watch.Hub
	authority  Authority
	// the common name of a certificate is a user
	commonNames bool
	counters    *Counters
	requests    *metrics.V2Requests
	wall        func() time.Time  // for expiration times
	offset      atomic.Int64      // see wallAt
	clusterID   []string          // as header values
	expectation watch.Expectation // of polls and streams
	deep        deepLane
}

// New returns a handler.
func New(o Options) *Handler {
	if o.Counters == nil {
		o.Counters = new(Counters)
	}
	return &Handler{
		counters: o.Counters, requests: o.Requests,
		b: o.Backend, cluster: o.Cluster, statistics: o.Statistics, hub: o.Hub, authority: o.Authority, commonNames: o.CommonNames,
		deep: make(deepLane, 1), wall: time.Now, clusterID: []string{o.Backend.ClusterID()},
	}
}

const keysPath = "/v2/keys"

// ServeHTTP serves a request for any path; those that v2 does not have are not found. As in etcd,
// the response to OPTIONS is empty on every path, and a path that is not clean is redirected, for
// every method.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return
	}
	at := r.URL.Path
	if at == "*" { // only OPTIONS may have it (RFC 9112, 3.2.4)
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
		h.serveRoute(w, r)
		return
	}
	switch r.Method {
	case http.MethodHead, http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete:
		h.serveKeys(w, r, target{path: keyPath(key), sent: []byte(key)})
	default:
		refuseMethod(w, "HEAD,GET,PUT,POST,DELETE")
	}
}

// cleanPath returns a path without doubled slashes and dot segments. It keeps a slash at the end.
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

// keyPath returns the node's path from the part of a clean path after /v2/keys.
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
	body := bodyMemory{account: budget.FromContext(r.Context())}
	defer body.give()
	q, err := parseRequest(r, &body)
	if err == nil && tooDeep(r.Method, t.path) {
		err = refuse(codeInvalidField, "the path has too many names for its length")
	}
	if err != nil {
		writeError(w, err)
		return
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	waits := reads && q.wait && !q.quorum // as in etcd a quorum read does not wait
	count := h.count(r.Method, q.quorum, waits)
	switch {
	case waits:
		err = h.watch(w, r, &t, q)
	case reads:
		err = h.read(w, r, &t, q)
	default:
		err = h.write(w, r, &t, q)
	}
	if err != nil {
		count.failed(writeError(w, err))
		return
	}
	count.served()
}

// tooDeep reports whether a path has too many names for v2, also for an in-order key below it.
func tooDeep(method string, path []byte) bool {
	if method == http.MethodPost {
		path = append(bytes.Clone(path), "/00000000000000000000"...)
	}
	return v2tree.TooDeep(path)
}

// read serves GET and HEAD.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, t *target, q request) error {
	if q.quorum {
		if err := h.b.WaitLinearizable(context.WithoutCancel(r.Context())); err != nil {
			return err
		}
	}
	var n v2tree.Node
	var index int64
	var now kv.ClusterTime
	list := listing{budget.NewWalk(r.Context(), budget.FromContext(r.Context())), &n}
	if !q.recursive {
		list.Brief()
	}
	list.AtMost(func() int64 { return h.b.Read().CountAtMost((&watched{path: t.path, recursive: true}).span()) })
	defer func() {
		list.ReleaseGathered()
		list.ReleaseAll()
	}()
	err := h.asCaller(r, func(_ context.Context, c *auth.Caller) (err error) {
		if err := t.permitted(c.Subject.CanRead, q.recursive); err != nil {
			return err
		}
		now = h.b.Now()
		err = list.Run(&list, true, func() (err error) {
			n, index, err = v2tree.Get(h.b.Read, t.path, q.recursive, now, &list)
			return err
		})
		if !h.guard().Current(c) {
			return auth.OldRevision // the data may be newer than the permission
		}
		h.counters.countGet(q.recursive, err)
		if err != nil {
			return err
		}
		show(c.Subject, &n)
		return nil
	})
	if err != nil {
		return err
	}
	e := event{action: "get", node: &n}
	if list.Gathered() > 0 { // it has many nodes
		h.respondLong(w, http.StatusOK, index, now, &e)
		return nil
	}
	h.respond(w, http.StatusOK, index, now, &e)
	return nil
}

// write serves PUT, POST and DELETE.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, t *target, q request) error {
	var res v2tree.Result
	err := h.asCaller(r, func(ctx context.Context, c *auth.Caller) (err error) {
		if err := t.permitted(c.Subject.CanWrite, q.recursive); err != nil {
			return err
		}
		command := q.command(r.Method, t.path, h.wall())
		if machine.AddsV2(command.Kind) {
			if err := h.b.CheckSpace(); err != nil {
				return err
			}
		}
		size := deepBytes(&command)
		if err := h.deep.enter(ctx, size); err != nil {
			return err
		}
		defer h.deep.leave(size)
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
	account := budget.FromContext(r.Context())
	taken, err := takePrevious(account, e.prev)
	if err != nil {
		return err
	}
	defer account.Give(taken)
	h.respond(w, status, res.Index, res.At, &e)
	return nil
}

var jsonType = []string{"application/json"}

// offsetMax is the maximum drift of the offset between wall clock and cluster time before it is
// measured again.
const offsetMax = time.Second

// wallAt converts a cluster time to wall-clock time. It keeps the offset between the two until one
// of them has stepped, so that a node's expiration, which is a cluster time, is the same in each
// response.
func (h *Handler) wallAt(t kv.ClusterTime) time.Time {
	offset, kept := h.wall().UnixNano()-int64(h.b.Now()), h.offset.Load()
	if time.Duration(offset-kept).Abs() <= offsetMax {
		offset = kept
	} else {
		h.offset.Store(offset)
	}
	return time.Unix(0, offset+int64(t))
}

// respond writes a success. at is the cluster time at which the remaining TTLs were computed.
func (h *Handler) respond(w http.ResponseWriter, status int, v2Index int64, at kv.ClusterTime, e *event) {
	if e.valueBytes() > longPartBytes {
		h.respondLong(w, status, v2Index, at, e)
		return
	}
	h.setIndexes(w.Header(), v2Index)
	buf := bodies.Get().(*[]byte)
	*buf = e.append((*buf)[:0], h.wallAt(at))
	writeBody(w, status, *buf)
	if cap(*buf) <= bodyKeptBytes {
		bodies.Put(buf)
	}
}

// setIndexes sets the headers with the store's revision, the raft index and the term.
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
	_, _ = w.Write(body) // an error means that the client has disconnected
}
