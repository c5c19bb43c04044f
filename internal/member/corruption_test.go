package member

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/alarm"
	"cairn/internal/machine"
	"cairn/internal/member/integrity"
)

// damageKey changes the value of a key in a member's store directly.
func damageKey(t *testing.T, m *Member, key string) {
	t.Helper()
	raw := append([]byte{'c'}, key...)
	value, err := m.stateStore.Get(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	value[len(value)-1] ^= 1
	b := m.stateStore.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	b.Set(raw, value)
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
}

// TestCorruptionChecks: after a compaction, the leader finds by itself which member's disk has a
// different value, and all writes are refused until the alarm is disarmed.
func TestCorruptionChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		leader := c.leader()
		for _, k := range []string{"a", "b", "c"} {
			mustPut(t, leader, k, "value")
		}
		revision := leader.Keys().Head().Revision
		for _, m := range c.members {
			await(t, "all to have all", func() bool { return m.Keys().Head().Revision == revision })
		}
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		for _, m := range c.members {
			if err := m.CheckAtStart(ctx); err != nil {
				t.Errorf("member %x: %v", m.ID(), err)
			}
		}
		for _, h := range leader.PeerHashes(ctx, revision) {
			if own, err := leader.Keys().Hash(revision, ctx.Err); errors.Join(err, h.Err) != nil || h.Hash != own {
				t.Fatalf("hash %+v of member %x, own %+v, %v", h.Hash, h.Member, own, errors.Join(err, h.Err))
			}
		}
		if got := leader.Alarms().List(alarm.None); len(got) != 0 {
			t.Fatalf("alarms %v", got)
		}

		victim := c.members[leader.ID()%3+1]
		damageKey(t, victim, "b")
		if err := victim.CheckAtStart(ctx); !errors.Is(err, integrity.ErrDamaged) {
			t.Errorf("the damaged member: %v", err)
		}
		if err := leader.CheckAtStart(ctx); err != nil {
			t.Errorf("a sound member: %v", err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			leader.Checks.Run(ctx, integrity.Intervals{Compacted: time.Millisecond})
		}()
		if _, err := leader.Propose(ctx, machine.KindCompact, machine.AppendCompact(nil, revision)); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.members {
			await(t, "the alarm", func() bool { return m.Alarms().Active(alarm.Corrupt) })
			if got, want := m.Alarms().List(alarm.None), []alarm.Alarm{{Kind: alarm.Corrupt, Member: victim.ID(), Own: true}}; !slices.Equal(got, want) {
				t.Errorf("member %x has the alarms %v, want %v", m.ID(), got, want)
			}
		}
		stop()
		<-done
		if _, err := put(leader, "a", "x"); !errors.Is(err, alarm.ErrCorrupt) {
			t.Errorf("put: %v", err)
		}
		if _, err := leader.ChangeAlarm(context.Background(), &alarm.Command{Action: alarm.Deactivate, Kind: alarm.Corrupt, Member: victim.ID()}); err != nil {
			t.Fatal(err)
		}
		mustPut(t, leader, "a", "x")
	})
}
