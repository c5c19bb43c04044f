package keepalive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
)

// slowMember is a member whose commands of its own wait until the test lets them continue.
type slowMember struct {
	*fakeMember
	arrived chan struct{}
	proceed chan error
}

func (m *slowMember) ProposeOwn(ctx context.Context, kind machine.Kind, payload []byte) error {
	m.arrived <- struct{}{}
	if err := <-m.proceed; err != nil {
		return err
	}
	return m.fakeMember.ProposeOwn(ctx, kind, payload)
}

// TestExtensionsAreCombined: one command at a time moves deadlines ahead, for the leases of all
// requests that wait, and for no more than extendMax of them.
func TestExtensionsAreCombined(t *testing.T) {
	s := newFakeState(t)
	const requests, each = 5, 100
	for id := range kv.LeaseID(requests*each + 2*extendMax + 10) {
		c := lease.Command{Kind: lease.KindGrant, ID: id + 1, TTL: 10}
		if _, err := s.apply(lease.Position{Time: 100 * second, Term: 5}, &c); err != nil {
			t.Fatal(err)
		}
	}
	m := newRig(t.Context(), leaderID, s)
	slow := &slowMember{fakeMember: m.fakeMember, arrived: make(chan struct{}), proceed: make(chan error)}
	m.r.o.Member = slow
	m.lead(5)
	m.advance(second)

	next := kv.LeaseID(1)
	renewed := make(chan error, requests+2)
	renew := func(n int) {
		ids := make([]kv.LeaseID, n)
		for i := range ids {
			ids[i], next = next, next+1
		}
		go func() {
			ttls := make([]int64, n)
			_, err := m.r.RenewLeases(t.Context(), ids, ttls)
			if want := slices.Repeat([]int64{10}, n); err == nil && !slices.Equal(ttls, want) {
				err = fmt.Errorf("TTLs of %d leases: %v, want 10 each", n, ttls)
			}
			renewed <- err
		}()
	}
	waiting := func(leases int) {
		for t.Context().Err() == nil {
			m.r.mu.Lock()
			n := 0
			for _, e := range m.r.extensions {
				n += len(e.ids)
			}
			m.r.mu.Unlock()
			if n == leases {
				return
			}
		}
	}
	renew(1)
	<-slow.arrived
	for range requests {
		renew(each)
	}
	renew(2*extendMax + 9) // as from a follower
	waiting(requests*each + 2*extendMax + 9)
	// The first command has the one lease, the others as many as fit.
	want := []int{1, 256, 256, 256, 253}
	for i := range want {
		if i > 0 {
			<-slow.arrived
		}
		slow.proceed <- nil
	}
	for range requests + 2 {
		if err := <-renewed; err != nil {
			t.Error(err)
		}
	}
	var sizes []int
	for _, c := range m.own {
		sizes = append(sizes, len(c.IDs))
	}
	if !slices.Equal(sizes, want) {
		t.Errorf("commands of %v leases, want %v", sizes, want)
	}
}

// TestExtensionFails: a request fails with the error of any of its commands, and later ones are not
// affected.
func TestExtensionFails(t *testing.T) {
	s := newFakeState(t)
	m := newRig(t.Context(), leaderID, s)
	slow := &slowMember{fakeMember: m.fakeMember, arrived: make(chan struct{}), proceed: make(chan error)}
	m.r.o.Member = slow
	failed := make(chan error)
	go func() { failed <- m.r.extend(t.Context(), 5, slices.Repeat([]kv.LeaseID{1}, extendMax+1)) }()
	errDown := errors.New("down")
	for _, err := range []error{errDown, nil} {
		<-slow.arrived
		slow.proceed <- err
	}
	if err := <-failed; !errors.Is(err, errDown) {
		t.Errorf("error %v, want that of the first command", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := m.r.extend(ended, 5, []kv.LeaseID{1}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the request's context", err)
	}
	<-slow.arrived
	slow.proceed <- nil
	go func() { failed <- m.r.extend(t.Context(), 6, []kv.LeaseID{1}) }()
	<-slow.arrived
	slow.proceed <- nil
	if err := <-failed; err != nil {
		t.Errorf("after a failure: %v", err)
	}
}
