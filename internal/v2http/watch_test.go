package v2http

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
	"cairn/internal/watch"
)

// hubTree is a tree that publishes its changes to a hub.
type hubTree struct {
	*tree
	hub *watch.Hub
}

func newHubTree(t *testing.T, clock func() kv.ClusterTime) hubTree {
	s := newTree(t, clock)
	hub := watch.New(s.store, watch.Limits{})
	t.Cleanup(hub.Close)
	return hubTree{s, hub}
}

func (s hubTree) ProposeV2(ctx context.Context, c *v2tree.Command) (v2tree.Result, error) {
	res, err := s.tree.ProposeV2(ctx, c)
	if err == nil {
		s.publish()
	}
	return res, err
}

func (s hubTree) publish() {
	s.hub.Publish(s.w.Events(), s.w.EventCount())
	s.hub.Dispatch()
}

// v3 makes the changes of a v3 client, in one revision.
func (s hubTree) v3(t *testing.T, change func(w *mvcc.Writer) error) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Reset()
	err := s.w.Begin(s.b)
	s.w.Start()
	for _, step := range []func() error{func() error { return change(s.w) }, s.w.End, s.w.Finish, func() error { return s.b.Commit(false) }} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	s.w.Publish()
	s.publish()
}

// site serves a hubTree.
type site struct {
	hubTree
	t   *testing.T
	url string
}

func newSite(t *testing.T, clock func() kv.ClusterTime) *site {
	s := newHubTree(t, clock)
	h := New(Options{Backend: s, Hub: s.hub})
	h.wall = func() time.Time { return time.Unix(1_000_000_000, 0).Add(time.Duration(clock())) }
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &site{s, t, server.URL}
}

func (s *site) do(method, target string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+"/v2/keys"+target, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %d %v", method, target, resp.StatusCode, err)
	}
}

// follow starts a watch, and returns when the response's headers have arrived. next returns the
// events, in short: action, key, and further fields.
func (s *site) follow(target string) (next func() string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v2/keys"+target, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	r := bufio.NewReader(resp.Body)
	return func() string {
		line, err := r.ReadString('\n')
		if err != nil {
			return "end" + line
		}
		return strings.TrimSuffix(line, "\n")
	}
}

func expect(t *testing.T, next func() string, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := next(); got != w {
			t.Errorf("got  %s\nwant %s", got, w)
		}
	}
}

func still() kv.ClusterTime { return kv.ClusterTime(time.Second) }

// TestStreamFromThePast delivers past events and then new ones. It differs from 3.1: the stream
// continues, and the event of the end of its own directory is sent once.
func TestStreamFromThePast(t *testing.T) {
	s := newSite(t, still)
	s.do("PUT", "/d/a?value=1")
	s.do("PUT", "/d/_h?value=1")
	next := s.follow("/d?wait=true&recursive=true&stream=true&waitIndex=1")
	own := s.follow("/d/a?wait=true&stream=true")
	s.do("PUT", "/d/a?value=2")
	s.do("DELETE", "/d?recursive=true")
	s.do("PUT", "/d/a?value=3")
	first := `{"action":"set","node":{"key":"/d/a","value":"1","modifiedIndex":2,"createdIndex":2}}`
	rest := []string{
		`{"action":"set","node":{"key":"/d/a","value":"2","modifiedIndex":4,"createdIndex":4},"prevNode":{"key":"/d/a","value":"1","modifiedIndex":2,"createdIndex":2}}`,
		`{"action":"delete","node":{"key":"/d","dir":true,"modifiedIndex":5,"createdIndex":2},"prevNode":{"key":"/d","dir":true,"modifiedIndex":2,"createdIndex":2}}`,
		`{"action":"set","node":{"key":"/d/a","value":"3","modifiedIndex":6,"createdIndex":6}}`,
	}
	expect(t, next, append([]string{first}, rest...)...)
	expect(t, own, rest...)
	s.hub.Close()
	expect(t, next, "end")
}

// TestEndOfDirectoryAbove: a watch of a path that does not exist receives the end of a directory
// above it from history, but not live: by whole names, and only ends before the watch began.
func TestEndOfDirectoryAbove(t *testing.T) {
	now := still()
	s := newSite(t, func() kv.ClusterTime { return now })
	s.do("PUT", "/h/a/b?value=1")          // 2
	s.do("PUT", "/hello?value=1")          // 3
	s.do("DELETE", "/h?recursive=true")    // 4
	s.do("PUT", "/h/a?dir=true&ttl=1")     // 5
	now += kv.ClusterTime(2 * time.Second) //
	if err := s.expire(); err != nil {     // 6
		t.Fatal(err)
	}
	s.publish()
	s.do("PUT", "/h/z?value=1") // 7
	deleted := `{"action":"delete","node":{"key":"/h","dir":true,"modifiedIndex":4,"createdIndex":2},"prevNode":{"key":"/h","dir":true,"modifiedIndex":2,"createdIndex":2}}`
	expired := `{"action":"expire","node":{"key":"/h/a","modifiedIndex":6,"createdIndex":5},"prevNode":{"key":"/h/a","dir":true,"expiration":"2001-09-09T01:46:42Z","modifiedIndex":5,"createdIndex":5}}`
	for _, below := range []string{"/h/a/b", "/h/a/none", "/h/none", "/h/a/b/c/d"} {
		for _, how := range []string{"", "&recursive=true"} {
			expect(t, s.follow(below+"?wait=true&waitIndex=3"+how), deleted, "end")
		}
	}
	for _, below := range []string{"/h/a/b", "/h/a/none"} {
		expect(t, s.follow(below+"?wait=true&waitIndex=5"), expired, "end")
	}
	streams := map[string]func() string{}
	for _, path := range []string{"/h/a/b", "/h/none", "/hello", "/h/a"} {
		streams[path] = s.follow(path + "?wait=true&stream=true&waitIndex=4")
	}
	live := s.follow("/h/none?wait=true&stream=true")
	s.do("DELETE", "/h?recursive=true") // 8
	last := s.follow("/h/none?wait=true&stream=true&waitIndex=8")
	s.hub.Close()
	again := strings.NewReplacer(`:4,`, `:8,`, `:2}`, `:5}`, `:2,`, `:5,`).Replace(deleted)
	expect(t, streams["/h/a/b"], deleted, expired, "end")
	expect(t, streams["/h/none"], deleted, "end")
	expect(t, streams["/h/a"], deleted,
		`{"action":"set","node":{"key":"/h/a","dir":true,"expiration":"2001-09-09T01:46:42Z","modifiedIndex":5,"createdIndex":5}}`, expired, "end")
	expect(t, streams["/hello"], "end")
	expect(t, live, "end")
	expect(t, last, again, "end")
}

// TestWatchOfV3 delivers a v3 transaction key by key, without the keys that v2 cannot see.
func TestWatchOfV3(t *testing.T) {
	s := newSite(t, still)
	next := s.follow("/?wait=true&recursive=true&stream=true")
	s.v3(t, func(w *mvcc.Writer) error {
		for _, key := range []string{"/", "/a", "/b/c", "/b//d", "/_e", "e", "/f/"} {
			if _, err := w.Put(&mvcc.PutOp{Key: []byte(key), Value: []byte("v")}); err != nil {
				return err
			}
		}
		return nil
	})
	s.v3(t, func(w *mvcc.Writer) error {
		_, err := w.Delete(&mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte("/b/"), End: []byte("/b0")}})
		return err
	})
	expect(
		t, next,
		`{"action":"set","node":{"key":"/a","value":"v","modifiedIndex":2,"createdIndex":2}}`,
		`{"action":"set","node":{"key":"/b/c","value":"v","modifiedIndex":2,"createdIndex":2}}`,
		`{"action":"delete","node":{"key":"/b/c","modifiedIndex":3,"createdIndex":2},"prevNode":{"key":"/b/c","value":"v","modifiedIndex":2,"createdIndex":2}}`,
	)
}

// TestWatchOfHiddenKey delivers no event of a v3 key where v2 shows a directory.
func TestWatchOfHiddenKey(t *testing.T) {
	s := newSite(t, still)
	s.do("PUT", "/d/k?value=1")
	own, all := s.follow("/d?wait=true&stream=true"), s.follow("/d?wait=true&recursive=true&stream=true")
	put := func(key string) {
		s.v3(t, func(w *mvcc.Writer) error {
			_, err := w.Put(&mvcc.PutOp{Key: []byte(key), Value: []byte("v")})
			return err
		})
	}
	put("/d")
	put("/d/x")
	s.v3(t, func(w *mvcc.Writer) error {
		_, err := w.Delete(&mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte("/d")}})
		return err
	})
	// Both watches have skipped the key when they deliver this event: they use the tree's state at
	// that time.
	s.do("PUT", "/d?dir=true&prevExist=true")
	updated := `{"action":"update","node":{"key":"/d","dir":true,"modifiedIndex":6,"createdIndex":2},"prevNode":{"key":"/d","dir":true,"modifiedIndex":2,"createdIndex":2}}`
	expect(t, own, updated)
	expect(t, all, `{"action":"set","node":{"key":"/d/x","value":"v","modifiedIndex":4,"createdIndex":4}}`, updated)
	s.do("DELETE", "/d?recursive=true")
	gone := `{"action":"delete","node":{"key":"/d","dir":true,"modifiedIndex":7,"createdIndex":2},"prevNode":{"key":"/d","dir":true,"modifiedIndex":2,"createdIndex":2}}`
	expect(t, own, gone)
	expect(t, all, gone)
}

// TestWatchOfTTL shows the remaining TTL, and none when it had expired before.
func TestWatchOfTTL(t *testing.T) {
	now := kv.ClusterTime(time.Second)
	s := newSite(t, func() kv.ClusterTime { return now })
	s.do("PUT", "/k?value=1&ttl=10")
	event := func(ttl string) string {
		return fmt.Sprintf(`{"action":"set","node":{"key":"/k","value":"1","expiration":"2001-09-09T01:46:51Z"%s,"modifiedIndex":2,"createdIndex":2}}`, ttl)
	}
	now += kv.ClusterTime(time.Second)
	expect(t, s.follow("/k?wait=true&waitIndex=2"), event(`,"ttl":9`), "end")
	now += kv.ClusterTime(time.Minute)
	expect(t, s.follow("/k?wait=true&waitIndex=2"), event(""), "end")
}

// TestWatchedNames compares wants with the rule in its comment.
func TestWatchedNames(t *testing.T) {
	keys := []string{"/", "/a", "/a/b", "/a/b/c", "/ab", "/a-b", "/a/_b", "/a/_b/c", "/_a", "/_a/b", "/a//b", "/a/", "/a/./b", "/a.b", "/a/b_c"}
	for _, at := range []string{"/", "/a", "/a/b", "/_a", "/a/_b"} {
		for _, recursive := range []bool{false, true} {
			p := watched{path: []byte(at), recursive: recursive}
			for _, key := range keys {
				e := &watch.Event{Event: kv.Event{Key: []byte(key)}}
				got := p.span().Contains(e.Key) && p.wants(e)
				want := key == at && at != "/"
				if below, ok := strings.CutPrefix(key, strings.TrimSuffix(at, "/")+"/"); ok && recursive && key != "/" {
					want = true
					for name := range strings.SplitSeq(below, "/") {
						want = want && name != "" && name != "." && name[0] != '_'
					}
				}
				if got != want {
					t.Errorf("a watch of %s (recursive: %v) received an event of %s: %v", at, recursive, key, got)
				}
			}
		}
	}
}

// countedReads counts the reads of a tree.
type countedReads struct {
	hubTree
	n int
}

// Read implements Backend.
func (s *countedReads) Read() mvcc.Reading {
	s.n++
	return s.hubTree.Read()
}

// TestEventIsEncodedOnce delivers events to a hundred streams: the tree is read, and the text is
// made, for the first of them. If there were one read for each, thousands of streams would take a
// processor for each write of others.
func TestEventIsEncodedOnce(t *testing.T) {
	s := &countedReads{hubTree: newHubTree(t, still)}
	h := New(Options{Backend: s, Hub: s.hub})
	if _, err := s.ProposeV2(t.Context(), &v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/d/k")}); err != nil {
		t.Fatal(err)
	}
	s.v3(t, func(w *mvcc.Writer) error {
		_, err := w.Put(&mvcc.PutOp{Key: []byte("/d"), Value: []byte("v")})
		return err
	})
	for name, c := range map[string]struct {
		key  string
		want string
	}{
		"shown": {"/k", `{"action":"set","node":{"key":"/k","value":"v","modifiedIndex":2,"createdIndex":2}}` + "\n"},
		// v2 shows a directory of this path
		"hidden": {"/d", ""},
	} {
		e := &watch.Event{Event: kv.Event{Type: kv.EventPut, Key: []byte(c.key), Record: kv.Record{
			Value: []byte("v"), CreateRevision: 2, Mod: kv.Revision{Main: 2}, Version: 1,
		}}}
		s.n = 0
		for range 100 {
			w := httptest.NewRecorder()
			writer := eventWriter{h: h, w: http.NewResponseController(w), to: w, stream: true}
			if !writer.deliver([]watch.Delivery{{Events: []*watch.Event{e}}}) || w.Body.String() != c.want {
				t.Fatalf("%s: sent %q, want %q", name, w.Body, c.want)
			}
		}
		if s.n != 1 {
			t.Errorf("%s: the tree was read %d times, want once", name, s.n)
		}
	}
}
