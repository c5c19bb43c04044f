// Package v2diff sends the same random requests of the v2 API to our server and to Debian's etcd
// 3.4, which still has that API, and compares the responses.
//
// It owns the generators of requests and command lines, and the list of allowed differences. It
// finds requests that no recording has; the recordings are in ../shared/conformance. A seed gives
// the same requests every time. Further seeds are tried with
//
//	CAIRN_DIFF_SEEDS=1000-1100 go test ./test/v2diff
//
// Concurrency: none within a seed.
package v2diff

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"cairn/test/harness"
)

const debianEtcd = "/usr/bin/etcd"

func TestMain(m *testing.M) { harness.Main(m) }

// answerMax is the timeout of a response, far above the usual time.
const answerMax = time.Minute

// seeds returns the seeds of CAIRN_DIFF_SEEDS, FROM-TO or one number, or else the given ones.
func seeds(t *testing.T, from, to uint64) (list []uint64) {
	if text := os.Getenv("CAIRN_DIFF_SEEDS"); text != "" {
		first, last, ranged := strings.Cut(text, "-")
		if !ranged {
			last = first
		}
		var err error
		if from, err = strconv.ParseUint(first, 10, 64); err != nil {
			t.Fatal(err)
		}
		if to, err = strconv.ParseUint(last, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for ; from <= to; from++ {
		list = append(list, from)
	}
	return list
}

// pair is our server and Debian's, with the same index.
type pair struct {
	t            *testing.T
	ours, theirs *side
}

func newPair(t *testing.T) *pair {
	harness.Needs(t, debianEtcd, "etcd-server")
	if harness.Reference(t) != "" {
		t.Skip("the server under test is another's")
	}
	p := &pair{t: t, ours: &side{t: t}, theirs: &side{t: t}}
	p.ours.s = harness.Start(t)
	p.theirs.s = harness.StartOther(t, debianEtcd, "--enable-v2=true", "--logger=zap")
	// Debian's increments its index when it determines the cluster's version, some time after its
	// start.
	harness.Await(t, "the other server has a cluster version", func() bool {
		_, body, _ := p.theirs.s.HTTP("GET", "/version", "")
		return strings.Contains(body, `"etcdcluster":"3.4`)
	})
	p.align()
	return p
}

// align raises the lower index to the higher one, so that responses can be compared directly.
func (p *pair) align() {
	p.t.Helper()
	ours, theirs := p.ours.index(), p.theirs.index()
	for ; ours < theirs; ours++ {
		p.ours.s.HTTP("PUT", "/v2/keys/_align", "value=x")
	}
	for ; theirs < ours; theirs++ {
		p.theirs.s.HTTP("PUT", "/v2/keys/_align", "value=x")
	}
	if ours, theirs := p.ours.index(), p.theirs.index(); ours != theirs {
		p.t.Fatalf("the indexes are %d and %d", ours, theirs)
	}
}

// both sends a request to both servers, ours first.
func (p *pair) both(r request) (ours, theirs answer) {
	return p.ours.send(r, answerMax), p.theirs.send(r, answerMax)
}

// request is sent exactly as written, even if no real client would send it.
type request struct {
	method, target, body, contentType, auth string
}

func (r request) String() string {
	text := r.method + " " + r.target
	if r.body != "" || r.contentType != "" {
		text += fmt.Sprintf(" (%s) %q", r.contentType, r.body)
	}
	if r.auth != "" {
		text += " as " + r.auth
	}
	return text
}

func (r request) wire(host string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.target, host)
	if r.contentType != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", r.contentType)
	}
	if r.auth != "" {
		fmt.Fprintf(&b, "Authorization: Basic %s\r\n", r.auth)
	}
	if r.body != "" || r.method == "PUT" || r.method == "POST" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	return b.String() + "\r\n" + r.body
}

// answer is a response. A pending one belongs to a watch that waits.
type answer struct {
	status  int
	header  http.Header
	body    string
	pending bool
	err     error
}

// side is one server and a connection to it.
type side struct {
	t    *testing.T
	s    *harness.Server
	conn net.Conn
	r    *bufio.Reader
}

func (s *side) index() int64 {
	s.t.Helper()
	_, _, header := s.s.HTTP("GET", "/v2/keys/", "")
	index, err := strconv.ParseInt(header.Get("X-Etcd-Index"), 10, 64)
	if err != nil {
		s.t.Fatalf("X-Etcd-Index: %v", err)
	}
	return index
}

// send sends a request and reads the response. One that does not end within the time is pending,
// and its connection is closed.
func (s *side) send(r request, within time.Duration) (a answer) {
	for try := 0; ; try++ {
		fresh := s.conn == nil
		if fresh {
			conn, err := net.Dial("tcp", s.s.Address())
			if err != nil {
				s.t.Fatal(err)
			}
			s.conn, s.r = conn, bufio.NewReader(conn)
		}
		a = s.exchange(r, within)
		if a.err == nil && !a.pending && !strings.EqualFold(a.header.Get("Connection"), "close") {
			return a
		}
		_ = s.conn.Close()
		s.conn = nil
		if fresh || a.err == nil {
			return a
		}
	}
}

func (s *side) exchange(r request, within time.Duration) (a answer) {
	if err := s.conn.SetDeadline(time.Now().Add(within)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(s.conn, r.wire(s.s.Address())); err != nil {
		return answer{err: err}
	}
	resp, err := http.ReadResponse(s.r, &http.Request{Method: r.method})
	if err != nil {
		return answer{err: err}
	}
	body, err := io.ReadAll(resp.Body)
	// ReadAll returns it unwrapped
	if ne, ok := err.(net.Error); ok && ne.Timeout() { //nolint:errorlint
		a.pending, err = true, nil
	}
	a.status, a.header, a.body, a.err = resp.StatusCode, resp.Header, string(body), err
	return a
}

// compared are the headers that must be equal.
var compared = []string{"Allow", "Content-Type", "Location", "X-Etcd-Index"}

// differs returns the difference between two responses, or "".
func differs(r request, ours, theirs answer) string {
	if (ours.err != nil) != (theirs.err != nil) {
		return fmt.Sprintf("ours failed with %v, theirs with %v", ours.err, theirs.err)
	}
	if ours.status != theirs.status || ours.pending != theirs.pending {
		return "status"
	}
	for _, name := range compared {
		if name == "Location" {
			if strings.TrimPrefix(ours.header.Get(name), "http://h") == theirs.header.Get(name) {
				continue
			}
		}
		if ours.header.Get(name) != theirs.header.Get(name) {
			return name
		}
	}
	if (ours.header.Get("X-Raft-Index") != "") != (theirs.header.Get("X-Raft-Index") != "") {
		return "X-Raft-Index"
	}
	if strings.HasPrefix(r.target, "/v2/stats") {
		return ""
	}
	return differBodies(ours.body, theirs.body)
}

func differBodies(ours, theirs string) string {
	if ours == theirs {
		return ""
	}
	o, t := json.NewDecoder(strings.NewReader(ours)), json.NewDecoder(strings.NewReader(theirs))
	for {
		var ov, tv any
		oerr, terr := o.Decode(&ov), t.Decode(&tv)
		if (oerr == nil) != (terr == nil) {
			return "number of JSON values"
		}
		if oerr != nil {
			if oerr == io.EOF && terr == io.EOF { //nolint:errorlint // Decode returns it as it is
				return ""
			}
			return "body that is not JSON"
		}
		normalise(ov)
		normalise(tv)
		if !same(ov, tv) {
			return "body"
		}
	}
}

// normalise removes from a decoded body what may differ.
func normalise(v any) {
	m, ok := v.(map[string]any)
	if !ok {
		return
	}
	delete(m, "expiration")
	// an empty grant is stored with a role, without effect
	if _, isRole := m["permissions"]; isRole {
		delete(m, "grant")
		delete(m, "revoke")
	}
	if nodes, ok := m["nodes"].([]any); ok {
		sort.Slice(nodes, func(i, j int) bool { return keyOf(nodes[i]) < keyOf(nodes[j]) })
		for _, n := range nodes {
			normalise(n)
		}
	}
	normalise(m["node"])
	normalise(m["prevNode"])
}

func keyOf(v any) string {
	m, _ := v.(map[string]any)
	key, _ := m["key"].(string)
	return key
}

// same compares decoded JSON; a TTL may be one second off.
func same(a, b any) bool {
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if aok && bok {
		if len(am) != len(bm) {
			return false
		}
		for name, av := range am {
			bv, ok := bm[name]
			if !ok {
				return false
			}
			if name == "ttl" {
				x, _ := av.(float64)
				y, _ := bv.(float64)
				if x-y <= 1 && y-x <= 1 {
					continue
				}
			}
			if !same(av, bv) {
				return false
			}
		}
		return true
	}
	al, aok := a.([]any)
	bl, bok := b.([]any)
	if aok && bok {
		if len(al) != len(bl) {
			return false
		}
		for i := range al {
			if !same(al[i], bl[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

// generator makes random requests.
type generator struct {
	*rand.Rand
	index int64 // approximate, of the servers
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 2))}
}

// pick returns one of the texts.
func (g *generator) pick(texts ...string) string { return texts[g.IntN(len(texts))] }

// chance is true once in n times.
func (g *generator) chance(n int) bool { return g.IntN(n) == 0 }
