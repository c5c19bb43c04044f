package member

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"cairn/internal/alarm"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

// TestCompareHashes: who is damaged, by what they answer.
func TestCompareHashes(t *testing.T) {
	hash := func(id uint64, sum uint32) PeerHash {
		return PeerHash{Member: id, Hash: mvcc.Hash{Sum: sum, Revision: 9, CompactRevision: 3}}
	}
	compacted, behind := hash(7, 99), hash(8, 98)
	compacted.Hash.CompactRevision, behind.Hash.Revision = 4, 8
	silent := PeerHash{Member: 9, Err: errors.New("unreachable")}
	for name, c := range map[string]struct {
		others []PeerHash
		want   []uint64
		told   int
	}{
		"alone":                   {nil, nil, 1},
		"nobody to compare with":  {[]PeerHash{compacted, behind, silent}, nil, 1},
		"equal":                   {[]PeerHash{hash(2, 5), hash(3, 5), silent}, nil, 3},
		"one other differs":       {[]PeerHash{hash(2, 6), hash(3, 5), behind}, []uint64{2}, 3},
		"the leader differs":      {[]PeerHash{hash(2, 6), hash(3, 6)}, []uint64{1}, 3},
		"two of two":              {[]PeerHash{hash(2, 6)}, []uint64{0}, 2},
		"all differ":              {[]PeerHash{hash(2, 6), hash(3, 7)}, []uint64{0}, 3},
		"a minority of different": {[]PeerHash{hash(2, 6), hash(3, 5), hash(4, 7), hash(5, 5)}, []uint64{2, 4}, 5},
	} {
		if d := compareHashes(hash(1, 5), c.others); !slices.Equal(d.members, c.want) || d.told != c.told {
			t.Errorf("%s: %+v, want %v of %d", name, d, c.want, c.told)
		}
	}
}

// damageKey changes the value of a key behind a member's back.
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

// TestCorruptionChecks: the leader finds out which member's disk has another value than the rest,
// by itself after a compaction, and nothing is written any more until the alarm is disarmed.
func TestCorruptionChecks(t *testing.T) {
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
		if err := m.CheckAtStart(ctx, m); err != nil {
			t.Errorf("member %x: %v", m.ID(), err)
		}
	}
	if compared, err := leader.checkHashes(ctx, leader, 0); err != nil || !compared {
		t.Fatalf("compared %v, %v", compared, err)
	}
	if got := leader.Alarms().List(alarm.None); len(got) != 0 {
		t.Fatalf("alarms %v", got)
	}

	victim := c.members[leader.ID()%3+1]
	damageKey(t, victim, "b")
	if err := victim.CheckAtStart(ctx, victim); !errors.Is(err, ErrDamaged) {
		t.Errorf("the damaged member: %v", err)
	}
	if err := leader.CheckAtStart(ctx, leader); err != nil {
		t.Errorf("a sound member: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		leader.RunCorruptionChecks(ctx, CorruptionChecks{Compacted: time.Millisecond}, leader)
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
}
