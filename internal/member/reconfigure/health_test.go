package reconfigure

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/membership"
	"cairn/internal/peer"
)

// fake is a cluster as its member 1 sees it: a leader whose changes are applied at once.
type fake struct {
	members  []membership.Member
	since    map[uint64]time.Time // when the connection was opened
	caughtUp bool
	proposed []membership.Command
}

func (f *fake) Members() []membership.Member           { return f.members }
func (f *fake) WasRemoved(uint64) bool                 { return false }
func (f *fake) WaitLinearizable(context.Context) error { return nil }
func (f *fake) Leads() bool                            { return true }
func (f *fake) CaughtUp(uint64) bool                   { return f.caughtUp }
func (f *fake) ActiveSince(id uint64) time.Time        { return f.since[id] }
func (f *fake) Register(string, peer.CallHandler)      {}
func (f *fake) ProposeChange(_ context.Context, c *membership.Command) error {
	f.proposed = append(f.proposed, *c)
	return nil
}

func (f *fake) CallLeader(context.Context, string, []byte) ([]byte, error) {
	return nil, errors.New("this member leads")
}

// trioOf returns a cluster of three started voters and a learner, and a function that changes it.
func trioOf(connected ...uint64) (*fake, *Changes) {
	f := &fake{since: map[uint64]time.Time{}}
	for id := uint64(1); id <= 4; id++ {
		f.members = append(f.members, membership.Member{ID: id, Name: "n", PeerURLs: []string{"http://" + string(rune('a'+id))}, Learner: id == 4})
	}
	for _, id := range connected {
		f.since[id] = time.Now()
	}
	return f, New(Options{
		ID: 1, Member: f, Leader: f, Connections: f, Strict: true, LearnersMax: 9, Timeout: time.Second,
		Retry: func(error) bool { return false }, Promoted: func(error) {}, Log: slog.New(slog.DiscardHandler),
	})
}

// TestHealth: which changes are refused while a voter is down, and while the connections are
// younger than five seconds, as in etcd 3.7.
func TestHealth(t *testing.T) {
	const soon, later = time.Second, 6 * time.Second
	add := func(learner bool) func(*Changes) error {
		return func(c *Changes) error {
			_, err := c.AddMember(context.Background(), []string{"http://new"}, learner)
			return err
		}
	}
	remove := func(id uint64) func(*Changes) error {
		return func(c *Changes) error { return c.RemoveMember(context.Background(), id) }
	}
	promote := func(c *Changes) error { return c.PromoteMember(context.Background(), 4) }
	for _, x := range []struct {
		name      string
		connected []uint64
		after     time.Duration
		do        func(*Changes) error
		want      error
	}{
		{"add a voter", []uint64{2, 3}, later, add(false), nil},
		{"add a voter soon", []uint64{2, 3}, soon, add(false), ErrUnhealthy},
		{"add a voter with one down", []uint64{2}, later, add(false), ErrUnhealthy},
		{"add a learner", []uint64{2, 3}, later, add(true), nil},
		{"add a learner soon", []uint64{2, 3}, soon, add(true), ErrUnhealthy},
		{"add a learner with one down", []uint64{2}, later, add(true), ErrUnhealthy},
		{"remove a voter", []uint64{2, 3}, later, remove(3), nil},
		{"remove a voter soon", []uint64{2, 3}, soon, remove(3), ErrUnhealthy},
		{"remove the voter that is down", []uint64{2}, later, remove(3), nil},
		{"remove another than the one that is down", []uint64{2}, later, remove(2), ErrUnhealthy},
		{"remove the learner with one down", []uint64{2}, soon, remove(4), nil},
		{"promote with one down", []uint64{2}, soon, promote, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c := trioOf(x.connected...)
				f.caughtUp = true
				time.Sleep(x.after)
				if err := x.do(c); !errors.Is(err, x.want) {
					t.Errorf("error %v, want %v", err, x.want)
				}
				if proposed := len(f.proposed) == 1; proposed != (x.want == nil) {
					t.Errorf("proposed %v", f.proposed)
				}
			})
		})
	}
	f, c := trioOf(2, 3)
	if err := promote(c); !errors.Is(err, ErrLearnerNotReady) || len(f.proposed) != 0 {
		t.Errorf("promoted a learner that has not caught up: %v", err)
	}
}
