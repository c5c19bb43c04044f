package sim

import (
	"crypto/rand"
	"testing"

	"cairn/check"
)

// script is a run in which a test decides what happens, and when.
type script struct {
	t *testing.T
	*world
	client *client
}

// play runs a script on a cluster without random faults. At the end all members must be consistent,
// equal and available, and the history is checked.
func play(t *testing.T, members int, do func(s *script)) {
	t.Helper()
	running.Lock()
	defer running.Unlock()
	systems := rand.Reader
	defer func() { rand.Reader = systems }()
	rand.Reader = seeded(7, 1)
	w := newWorld(Case{Seed: 7, Members: members, Only: []string{"kv"}})
	defer w.close()
	w.scripted = true
	s := &script{t: t, world: w, client: w.clients[0]}
	for _, m := range w.members {
		m.found()
	}
	s.pass(3 * second)
	do(s)
	w.makePeace()
	w.awaitAvailable()
	w.runUntil(w.now+peaceFor, never)
	w.finish()
	if w.err != nil {
		t.Errorf("%v\n%s", w.err, w.trace)
	}
}

// pass advances time.
func (s *script) pass(span int64) { s.runUntil(s.now+span, never) }

// ask sends a request to a member, and waits for the response or the client's timeout.
func (s *script) ask(m *member, r check.Request) (resp check.Response, known bool) {
	done := false
	s.client.ask(m, r, func(got *check.Response, ok bool) {
		done = true
		if known = ok; ok {
			resp = *got
		}
	})
	s.runUntil(s.now+2*timeoutAfter, func() bool { return done })
	return resp, known
}

// must sends a request that has to succeed.
func (s *script) must(m *member, r check.Request) check.Response {
	s.t.Helper()
	for range 5 {
		if resp, known := s.ask(m, r); known && resp.Err != check.ErrRefused {
			if resp.Err != "" {
				s.t.Fatalf("%v: %s", r, resp.Err)
			}
			return resp
		}
	}
	s.t.Fatalf("%v: no answer\n%s", r, s.trace)
	return check.Response{}
}

// leader waits for a leader, and returns it; another returns a member that is not the leader.
func (s *script) leader() *member {
	s.t.Helper()
	for range 300 {
		for _, m := range s.members {
			if m.up && m.r.Leads() && m.pausedUntil <= s.now {
				return m
			}
		}
		s.pass(tick)
	}
	s.t.Fatalf("no leader\n%s", s.trace)
	return nil
}

func (s *script) another(not *member) *member {
	for _, m := range s.members {
		if m != not && m.up {
			return m
		}
	}
	s.t.Fatal("no other member runs")
	return nil
}

// isolate cuts a member off; rejoin ends all partitions.
func (s *script) isolate(m *member) {
	s.cutLinks(&fault{kind: faultIsolate}, m)
}

func (s *script) rejoin() { clear(s.net.cuts) }

func putOf(key, value string) check.Request {
	return check.Request{Put: &check.Put{Key: key, Value: value}}
}

func getOf(key string) check.Request { return check.Request{Range: &check.Range{Key: key}} }
