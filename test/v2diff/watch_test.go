package v2diff

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	roundsPerSeed   = 6
	watchesPerRound = 8
	writesPerRound  = 12
	// pendingWait is how long to wait for an event that only one of the two watches receives. It is
	// used where no further event is expected, so a slow machine can hide a difference but never
	// cause one.
	pendingWait = 150 * time.Millisecond
)

// TestWatches opens watches of all kinds, writes, and compares the events that they received.
func TestWatches(t *testing.T) {
	p := newPair(t)
	for _, seed := range seeds(t, 1, 2) {
		p.align()
		g := newGenerator(seed)
		root := fmt.Sprintf("/w%d", seed)
		first := p.ours.index()
		for range roundsPerSeed {
			g.index = p.ours.index()
			p.watchRound(seed, g, root, first)
		}
	}
}

// watchRound is a round of TestWatches.
func (p *pair) watchRound(seed uint64, g *generator, root string, first int64) {
	var targets []string
	for range watchesPerRound {
		targets = append(targets, g.watchTarget(root, first))
	}
	var ours, theirs []*watch
	for _, target := range targets {
		ours, theirs = append(ours, p.ours.watch(target)), append(theirs, p.theirs.watch(target))
	}
	var writes []string
	for range writesPerRound {
		r := request{method: g.pick("PUT", "PUT", "PUT", "POST", "DELETE"), target: "/v2/keys" + root + g.path()}
		if parameters := g.parameters(r.method); r.method == "DELETE" {
			r.target += "?" + parameters
		} else {
			r.body, r.contentType = parameters, "application/x-www-form-urlencoded"
		}
		if strings.Contains(r.body, "refresh") { // differs between 3.1 and 3.4
			continue
		}
		o, th := p.both(r)
		writes = append(writes, fmt.Sprintf("%s: %d", r, o.status))
		if how := differs(r, o, th); how != "" {
			p.t.Errorf("seed %d: %s: %s\nours %s\ntheirs %s", seed, r, how, o.body, th.body)
		}
	}
	awaitEqual(ours, theirs)
	for i, target := range targets {
		if how := ours[i].differs(theirs[i]); how != "" {
			p.t.Errorf("seed %d: watch of %s\nthey differ in the %s\nours   %d %v %s\ntheirs %d %v %s\nwrites:\n%s", seed, target, how,
				ours[i].status, ours[i].header.Get("X-Etcd-Index"), ours[i].text(),
				theirs[i].status, theirs[i].header.Get("X-Etcd-Index"), theirs[i].text(), strings.Join(writes, "\n"))
		}
	}
	for i := range targets {
		ours[i].cancel()
		theirs[i].cancel()
	}
}

func (g *generator) watchTarget(root string, first int64) string {
	target := "/v2/keys" + root + g.pick("", "/a", "/b", "/a/b", "/a/_h", "/_h", "/c", "/d/a", "/a/", "/a/b/none", "/d/none/x") + "?wait=true"
	if g.chance(2) {
		target += "&recursive=true"
	}
	if g.chance(3) {
		// Past events of hidden nodes differ on purpose, and so does a stream from there.
		target = strings.ReplaceAll(target, "&recursive=true", "") + fmt.Sprintf("&waitIndex=%d", max(first, g.index-int64(g.IntN(12))+3))
	} else if g.chance(3) {
		target += "&stream=true"
	}
	return target
}

// watch is an open watch, which collects the events that it receives.
type watch struct {
	target string
	status int
	header http.Header
	cancel context.CancelFunc
	mu     sync.Mutex
	lines  []string // guarded by mu
	ended  bool     // guarded by mu
}

func (s *side) watch(target string) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{target: target, cancel: cancel}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.s.URL()+target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	w.status, w.header = resp.StatusCode, resp.Header
	go func() {
		defer resp.Body.Close()
		r := bufio.NewReader(resp.Body)
		for {
			line, err := r.ReadString('\n')
			w.mu.Lock()
			if line != "" {
				w.lines = append(w.lines, line)
			}
			w.ended = err == io.EOF //nolint:errorlint // ReadString returns it as it is
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return w
}

// heard returns the events received so far, without repetitions, and whether its response has
// ended.
func (w *watch) heard() (lines []string, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.lines {
		if n := len(lines); n == 0 || lines[n-1] != line {
			lines = append(lines, line)
		}
	}
	return lines, w.ended
}

func (w *watch) text() string {
	lines, ended := w.heard()
	return fmt.Sprintf("ended %t\n%s", ended, strings.Join(lines, ""))
}

// differs returns the difference between the events of two watches so far, or "".
func (w *watch) differs(from *watch) string {
	mine, ended := w.heard()
	others, otherEnded := from.heard()
	switch {
	case w.status != from.status:
		return "status"
	case w.header.Get("X-Etcd-Index") != from.header.Get("X-Etcd-Index"):
		return "X-Etcd-Index"
	case differBodies(strings.Join(mine, ""), strings.Join(others, "")) != "":
		return "events"
	case ended != otherEnded:
		return "end"
	}
	return ""
}

// awaitEqual waits until both servers' watches have received the same events, or until its timeout,
// and then a moment longer for events that only one of them receives.
func awaitEqual(ours, theirs []*watch) {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-again.C {
		if !slices.ContainsFunc(ours, func(w *watch) bool { return w.differs(theirs[slices.Index(ours, w)]) != "" }) {
			break
		}
	}
	// That no further event is sent has no event of its own.
	time.Sleep(pendingWait)
}
