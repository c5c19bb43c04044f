package keepalive

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/kv"
)

// TestForward: a follower's leases are renewed in the leader's memory, by a call.
func TestForward(t *testing.T) {
	_, leader := leased(t)
	follower := newRig(t.Context(), followerID, leader.state)
	follower.connect(leader)
	follower.advance(second)
	follower.renew(t, []kv.LeaseID{8, 7}, 0, 10)
	if leader.confirmed != 1 || leader.r.Promises().Len() != 1 || follower.r.Promises().Len() != 0 || len(follower.commands) != 0 {
		t.Errorf("%d confirmations, %d and %d promises, commands %+v", leader.confirmed, leader.r.Promises().Len(), follower.r.Promises().Len(), follower.commands)
	}
	for name, fail := range map[string]func(context.Context, uint64, string, []byte) ([]byte, error){
		"not connected": func(context.Context, uint64, string, []byte) ([]byte, error) { return nil, errors.New("not connected") },
		"too short":     func(context.Context, uint64, string, []byte) ([]byte, error) { return []byte{9}, nil },
		"too long":      func(context.Context, uint64, string, []byte) ([]byte, error) { return []byte{9, 10, 10}, nil },
	} {
		follower.calls.call, follower.commands = fail, nil
		follower.renew(t, seven, 10)
		if len(follower.commands) != 1 {
			t.Errorf("%s: commands %+v, want a renewal", name, follower.commands)
		}
	}
}

// TestCallsAreChecked: a call with malformed bytes, or to a member that does not lead, is refused.
func TestCallsAreChecked(t *testing.T) {
	_, m := leased(t)
	ids := func(n int) []byte { return make([]byte, 8*n) }
	for name, c := range map[string]struct {
		path string
		body []byte
		term uint64
		want error
	}{
		"no lease":                  {renewPath, nil, 5, errBadCall},
		"half a lease":              {renewPath, make([]byte, 12), 5, errBadCall},
		"too many leases":           {renewPath, ids(callLeasesMax + 1), 5, errBadCall},
		"many leases":               {renewPath, ids(callLeasesMax), 5, nil},
		"renewal without a leader":  {renewPath, ids(1), 0, errNoLeader},
		"deadline of no lease":      {deadlinePath, nil, 5, errBadCall},
		"deadline of two leases":    {deadlinePath, ids(2), 5, errBadCall},
		"deadline without a leader": {deadlinePath, ids(1), 0, errNoLeader},
		"deadline":                  {deadlinePath, ids(1), 5, nil},
	} {
		m.lead(c.term)
		if _, err := m.calls.handlers[c.path](t.Context(), followerID, c.body); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// heldCall is a call that waits for its response.
type heldCall struct {
	leases  []kv.LeaseID
	respond chan bool // false: the call fails
}

// holdCalls makes the calls of a member wait. The response to a call has the revision 9, and as the
// TTL of each lease its ID.
func (m *rig) holdCalls() <-chan *heldCall {
	held := make(chan *heldCall, 100)
	m.calls.call = func(ctx context.Context, _ uint64, _ string, body []byte) ([]byte, error) {
		h := &heldCall{respond: make(chan bool, 1)}
		response := binary.AppendUvarint(nil, 9)
		for ; len(body) > 0; body = body[8:] {
			id := binary.BigEndian.Uint64(body)
			h.leases = append(h.leases, kv.LeaseID(id))
			response = binary.AppendUvarint(response, id)
		}
		held <- h
		select {
		case ok := <-h.respond:
			if !ok {
				return nil, errors.New("refused")
			}
			return response, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return held
}

// forwardResult is the result of a forwarded renewal.
type forwardResult struct {
	ttls     []int64
	revision int64
	err      error
}

func (m *rig) goForward(ctx context.Context, ids ...kv.LeaseID) <-chan forwardResult {
	done := make(chan forwardResult, 1)
	go func() {
		ttls := make([]int64, len(ids))
		revision, err := m.r.forward(ctx, ids, ttls)
		done <- forwardResult{ttls, revision, err}
	}()
	synctest.Wait()
	return done
}

func wantForwarded(t *testing.T, done <-chan forwardResult, ttls ...int64) {
	t.Helper()
	if r := <-done; r.err != nil || r.revision != 9 || !slices.Equal(r.ttls, ttls) {
		t.Errorf("got %+v, want the TTLs %v", r, ttls)
	}
}

// TestForwardedTogether: requests that arrive during a call share the next one, and each gets its
// own results.
func TestForwardedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRig(t.Context(), followerID, nil)
		calls := m.holdCalls()
		first := m.goForward(t.Context(), 1)
		second, third := m.goForward(t.Context(), 2, 3), m.goForward(t.Context(), 4)
		call := <-calls
		if len(calls) != 0 || !slices.Equal(call.leases, []kv.LeaseID{1}) {
			t.Fatalf("%d further calls, the first of %v", len(calls), call.leases)
		}
		call.respond <- true
		wantForwarded(t, first, 1)
		synctest.Wait()
		call = <-calls
		if len(calls) != 0 || !slices.Equal(call.leases, []kv.LeaseID{2, 3, 4}) {
			t.Fatalf("%d further calls, the second of %v", len(calls), call.leases)
		}
		call.respond <- true
		wantForwarded(t, second, 2, 3)
		wantForwarded(t, third, 4)
		failed := m.goForward(t.Context(), 5) // when no call is in progress
		(<-calls).respond <- false
		if r := <-failed; !errors.Is(r.err, ErrByCommand) {
			t.Errorf("a failed call: %+v", r)
		}
	})
}

// TestCallIsLimited: requests of too many leases are sent in several calls, and one request is
// never divided.
func TestCallIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRig(t.Context(), followerID, nil)
		calls := m.holdCalls()
		first := m.goForward(t.Context(), 1)
		var rest []<-chan forwardResult
		for _, n := range []int{callLeasesMax - 1, 1, 1, callLeasesMax + 1} {
			rest = append(rest, m.goForward(t.Context(), make([]kv.LeaseID, n)...))
		}
		for i, want := range []int{1, callLeasesMax, 1, callLeasesMax + 1} {
			synctest.Wait()
			call := <-calls
			if len(call.leases) != want {
				t.Errorf("call %d has %d leases, want %d", i, len(call.leases), want)
			}
			call.respond <- true
		}
		wantForwarded(t, first, 1)
		for _, done := range rest {
			if r := <-done; r.err != nil || r.revision != 9 {
				t.Errorf("revision %d, %v", r.revision, r.err)
			}
		}
	})
}

// TestCallTimeout: a leader that does not respond delays a renewal by CallTimeout, and the
// request's context ends its wait before.
func TestCallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRig(t.Context(), followerID, nil)
		m.holdCalls()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		bounded, unbounded := m.goForward(ctx, 1), m.goForward(t.Context(), 2)
		if r := <-bounded; !errors.Is(r.err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("a request of 1 s: %v after %v", r.err, time.Since(began))
		}
		// The second one has waited for the end of the first call.
		if r := <-unbounded; !errors.Is(r.err, ErrByCommand) || time.Since(began) != 2*callTimeout {
			t.Errorf("a request without a deadline: %v after %v, want %v", r.err, time.Since(began), 2*callTimeout)
		}
	})
}

// TestCallEndsWithTheMember: a call ends when the member stops.
func TestCallEndsWithTheMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running, stop := context.WithCancel(t.Context())
		m := newRig(running, followerID, nil)
		m.holdCalls()
		began := time.Now()
		done := m.goForward(t.Context(), 1)
		stop()
		if r := <-done; !errors.Is(r.err, ErrByCommand) || time.Since(began) > 0 {
			t.Errorf("%v after %v", r.err, time.Since(began))
		}
	})
}
