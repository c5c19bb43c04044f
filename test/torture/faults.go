package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"cairn/test/fleet"
)

// fault is one kind of fault. do causes it, and undoes it before it returns; the round then checks
// that the members recover.
type fault struct {
	name string
	do   func(ctx context.Context, b *bout) error
}

// faults are used in turn, in an order that the seed determines.
var faults = []fault{
	{"kill", kill},
	{"kill leader", killLeader},
	{"pause leader", pauseLeader},
	{"pause", pause},
	{"partition", partition},
	{"cut off leader", cutOffLeader},
	{"one way, refused", oneWay(fleet.Rule{Refuse: true})},
	{"one way, lost", oneWay(fleet.Rule{Drop: true})},
	{"delay", delay},
	{"cut connections", cutConnections},
	{"kill all", killAll},
	{"rolling restart", rollingRestart},
	{"move leader", moveLeader},
	{"replace member", replaceMember},
	{"torn log tail", tornTail},
	{"corrupt log", corruptLog},
	{"disk full", diskFull},
	{"clock step", clockStep},
}

// Durations of a fault.
func (b *bout) span(least, most time.Duration) time.Duration {
	return least + time.Duration(b.rng.Int64N(int64(most-least)))
}

// wait waits for the duration of a fault, or until the run ends.
func (b *bout) wait(ctx context.Context, least, most time.Duration) { sleep(ctx, b.span(least, most)) }

func (b *bout) any() *fleet.Member {
	members := b.fleet.Members()
	return members[b.rng.IntN(len(members))]
}

// minority draws a minority of the members.
func (b *bout) minority() (some, others []*fleet.Member) {
	members := b.fleet.Members()
	b.rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	n := 1 + b.rng.IntN((len(members)-1)/2)
	return members[:n], members[n:]
}

func (b *bout) killAndRestart(ctx context.Context, m *fleet.Member) error {
	if err := m.Kill(); err != nil {
		return err
	}
	b.wait(ctx, 200*time.Millisecond, 3*time.Second)
	return m.Start()
}

func kill(ctx context.Context, b *bout) error { return b.killAndRestart(ctx, b.any()) }

func killLeader(ctx context.Context, b *bout) error {
	m, err := b.fleet.Leader(ctx)
	if err != nil {
		return err
	}
	return b.killAndRestart(ctx, m)
}

func killAll(ctx context.Context, b *bout) error {
	for _, m := range b.fleet.Members() {
		if err := m.Kill(); err != nil {
			return err
		}
	}
	for _, m := range b.fleet.Members() {
		if err := m.Start(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bout) pauseFor(ctx context.Context, m *fleet.Member) error {
	if err := m.Pause(); err != nil {
		return err
	}
	b.wait(ctx, 200*time.Millisecond, 6*time.Second)
	return m.Resume()
}

func pause(ctx context.Context, b *bout) error { return b.pauseFor(ctx, b.any()) }

func pauseLeader(ctx context.Context, b *bout) error {
	m, err := b.fleet.Leader(ctx)
	if err != nil {
		return err
	}
	return b.pauseFor(ctx, m)
}

func partition(ctx context.Context, b *bout) error {
	some, others := b.minority()
	return b.separate(ctx, some, others)
}

func cutOffLeader(ctx context.Context, b *bout) error {
	m, err := b.fleet.Leader(ctx)
	if err != nil {
		return err
	}
	return b.separate(ctx, []*fleet.Member{m}, b.fleet.Members())
}

func (b *bout) separate(ctx context.Context, some, others []*fleet.Member) error {
	r := fleet.Rule{Refuse: true}
	if b.rng.IntN(2) == 0 {
		r = fleet.Rule{Drop: true}
	}
	b.fleet.Wire().Both(some, others, r)
	b.wait(ctx, time.Second, 8*time.Second)
	b.fleet.Wire().Heal()
	return nil
}

func oneWay(r fleet.Rule) func(context.Context, *bout) error {
	return func(ctx context.Context, b *bout) error {
		from, others := b.any(), b.fleet.Members()
		for _, to := range others {
			if to == from {
				continue
			}
			if b.rng.IntN(2) == 0 {
				b.fleet.Wire().Set(from, to, r)
			} else {
				b.fleet.Wire().Set(to, from, r)
			}
		}
		b.wait(ctx, time.Second, 8*time.Second)
		b.fleet.Wire().Heal()
		return nil
	}
}

func delay(ctx context.Context, b *bout) error {
	members := b.fleet.Members()
	// there and back in less than an election
	r := fleet.Rule{Delay: b.span(10*time.Millisecond, 150*time.Millisecond)}
	if b.rng.IntN(2) == 0 {
		members = members[:1]
	}
	b.fleet.Wire().Both(members, b.fleet.Members(), r)
	b.wait(ctx, 2*time.Second, 6*time.Second)
	b.fleet.Wire().Heal()
	return nil
}

func cutConnections(ctx context.Context, b *bout) error {
	for range 5 + b.rng.IntN(20) {
		b.fleet.Wire().Cut(func() bool { return b.rng.IntN(3) == 0 })
		b.wait(ctx, 20*time.Millisecond, 400*time.Millisecond)
	}
	return nil
}

func rollingRestart(ctx context.Context, b *bout) error {
	for _, m := range b.fleet.Members() {
		state, err := m.Stop()
		if err != nil {
			return err
		}
		if !state.Success() {
			b.violation("%s ended with %v after SIGTERM", m.Name, state)
		}
		if err := m.Start(); err != nil {
			return err
		}
		if err := m.AwaitHealthy(ctx); err != nil {
			return err
		}
	}
	return nil
}

func moveLeader(ctx context.Context, b *bout) error {
	for range 1 + b.rng.IntN(4) {
		leader, err := b.fleet.Leader(ctx)
		if err != nil {
			return err
		}
		c, err := b.fleet.Connect(leader)
		if err != nil {
			return err
		}
		moved, cancel := context.WithTimeout(ctx, patience)
		_, err = c.MoveLeader(moved, b.any().ID())
		cancel()
		_ = c.Close()
		if err != nil {
			b.note("leader was not moved: %v", err)
		}
		b.wait(ctx, 50*time.Millisecond, time.Second)
	}
	return nil
}

func replaceMember(ctx context.Context, b *bout) error {
	m := b.any()
	b.memberChanges(m)
	return b.fleet.Replace(ctx, m)
}

func diskFull(ctx context.Context, b *bout) error {
	if b.small == nil {
		return errSkipped
	}
	return b.small.fill(ctx, b)
}

func clockStep(ctx context.Context, b *bout) error {
	if !b.cfg.clock {
		return errSkipped
	}
	hours := time.Duration(1+b.rng.IntN(48)) * time.Hour
	if b.rng.IntN(2) == 0 {
		hours = -hours
	}
	if err := stepClock(hours); err != nil {
		b.note("clock cannot be set: %v", err)
		return errSkipped
	}
	b.wait(ctx, time.Second, 4*time.Second)
	return stepClock(-hours)
}

// errSkipped reports that a fault cannot be caused on this machine.
var errSkipped = fmt.Errorf("cannot be made here")

func newRand(seed uint64, stream int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(stream))) }
