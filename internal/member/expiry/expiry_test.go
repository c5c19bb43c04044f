package expiry_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/member/expiry"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

// fakeMember has a key space with deadlines only. A proposed command removes its deadline.
type fakeMember struct {
	t       *testing.T
	db      *storage.Store
	keys    *mvcc.Store
	start   time.Time
	expires bool // this member is the leader
	applied kv.ClusterTime

	rounds   [][]string // the commands of each ProposeAll
	refuse   error      // the result of each command, when not nil
	written  int        // calls of ProposeClusterTime
	leases   int        // calls of LeaseExpired
	stopping bool
	promises *lease.Promises
}

// Leadership implements expiry.Leases.
func (m *fakeMember) Leadership() (term uint64) {
	if !m.expires {
		m.promises.Follow()
		return 0
	}
	m.promises.Lead(1, 0)
	return 1
}

// Promises implements expiry.Leases.
func (m *fakeMember) Promises() *lease.Promises { return m.promises }

func newMember(t *testing.T) *fakeMember {
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS()})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := mvcc.Open(db, mvcc.FirstRevision, 0)
	if err != nil {
		t.Fatal(err)
	}
	promises := lease.NewPromises(func() int64 { return 1 })
	return &fakeMember{t: t, db: db, keys: keys, start: time.Now(), expires: true, promises: promises}
}

// deadline returns the key of an entry of table t, as drawn in docs/formats.
func deadline(at time.Duration, kind byte, id []byte) []byte {
	key := binary.BigEndian.AppendUint64([]byte{byte(storage.TableDeadlines)}, uint64(at))
	return append(append(key, kind), id...)
}

func leaseDeadline(at time.Duration, id uint64) []byte {
	return deadline(at, 'l', binary.BigEndian.AppendUint64(nil, id))
}

func (m *fakeMember) change(change func(*storage.Batch)) {
	b := m.db.NewBatch()
	change(b)
	if err := errors.Join(b.Commit(false), b.Close()); err != nil {
		m.t.Error(err)
	}
}

func (m *fakeMember) add(key []byte) { m.change(func(b *storage.Batch) { b.Set(key, nil) }) }

func (m *fakeMember) MayExpire() bool     { return m.expires }
func (m *fakeMember) ProposeClusterTime() { m.written++ }

func (m *fakeMember) ClusterTimes() (now, applied kv.ClusterTime) {
	return kv.ClusterTime(time.Since(m.start)), m.applied
}

func (m *fakeMember) ProposeAll(_ context.Context, commands []expiry.Command) (results []error, err error) {
	var round []string
	for _, c := range commands {
		key, text := m.deadlineOf(c)
		round = append(round, text)
		results = append(results, m.refuse)
		if m.refuse == nil {
			m.change(func(b *storage.Batch) { b.Delete(key) })
		}
	}
	m.rounds = append(m.rounds, round)
	if m.stopping {
		return nil, errors.New("member stopped")
	}
	return results, nil
}

// deadlineOf returns the deadline of a command, and the command as text.
func (m *fakeMember) deadlineOf(c expiry.Command) (key []byte, text string) {
	if c.Kind == machine.KindLease {
		l, err := lease.Decode(c.Payload)
		if err != nil || l.Kind != lease.KindExpire {
			m.t.Errorf("lease command %+v, %v", l, err)
		}
		return leaseDeadline(time.Duration(l.Deadline), uint64(l.ID)), fmt.Sprintf("lease %d", l.ID)
	}
	n, err := v2tree.Decode(c.Payload)
	if err != nil || n.Kind != v2tree.KindExpire {
		m.t.Errorf("v2 command %+v, %v", n, err)
	}
	return deadline(time.Duration(n.Deadline), 'k', n.Path), string(n.Path)
}

// run runs an Expiry for some time.
func (m *fakeMember) run(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	x := expiry.New(expiry.Options{
		Member: m, Keys: m.keys, Leases: m, ElectionTimeout: time.Second, Log: slog.New(slog.DiscardHandler),
		LeaseExpired: func() { m.leases++ },
	})
	if err := x.Run(ctx); err != nil {
		m.t.Error(err)
	}
}

func (m *fakeMember) total() (n int) {
	for _, round := range m.rounds {
		n += len(round)
	}
	return n
}

// inBubble runs a test with a member in a bubble of synctest.
func inBubble(t *testing.T, test func(t *testing.T, m *fakeMember)) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember(t)
		defer m.db.Close() //nolint:errcheck // in memory
		test(t, m)
	})
}

// TestDue expires leases at their deadline and nodes of v2 a quarter of a second later, not before.
func TestDue(t *testing.T) {
	inBubble(t, func(t *testing.T, m *fakeMember) {
		m.add(leaseDeadline(time.Second, 5))
		m.add(deadline(time.Second, 'k', []byte("/a")))
		m.add(leaseDeadline(time.Hour, 6))
		m.run(950 * time.Millisecond)
		if m.total() != 0 {
			t.Fatalf("ended before the deadline: %v", m.rounds)
		}
		m.run(200 * time.Millisecond)
		if got := fmt.Sprint(m.rounds); got != "[[lease 5]]" || m.leases != 1 {
			t.Fatalf("at 1.15s: %s, %d leases", got, m.leases)
		}
		m.run(300 * time.Millisecond)
		if got := fmt.Sprint(m.rounds); got != "[[lease 5] [/a]]" || m.leases != 1 {
			t.Errorf("at 1.45s: %s, %d leases", got, m.leases)
		}
	})
}

// TestMany expires many deadlines, a limited number at a time, each once.
func TestMany(t *testing.T) {
	inBubble(t, func(t *testing.T, m *fakeMember) {
		const n = 1000
		for i := range n {
			m.add(leaseDeadline(time.Duration(i), uint64(i+1)))
		}
		m.run(500 * time.Millisecond)
		if m.total() != n || m.leases != n {
			t.Errorf("ended %d times, %d leases, want %d", m.total(), m.leases, n)
		}
		for _, round := range m.rounds {
			if len(round) > 32 {
				t.Errorf("%d commands at a time", len(round))
			}
		}
	})
}

// TestFollowerWaits: a follower proposes nothing.
func TestFollowerWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, m *fakeMember) {
		m.expires = false
		m.add(leaseDeadline(0, 5))
		m.run(5 * time.Second)
		if m.total() != 0 || m.written != 0 {
			t.Errorf("a follower proposed %v, and the cluster time %d times", m.rounds, m.written)
		}
	})
}

// TestFailedIsRetried proposes a failed command again, about once a second.
func TestFailedIsRetried(t *testing.T) {
	inBubble(t, func(t *testing.T, m *fakeMember) {
		m.refuse = errors.New("request timed out")
		m.add(leaseDeadline(0, 5))
		m.run(3 * time.Second)
		if n := m.total(); n < 3 || m.leases != 0 {
			t.Errorf("%d attempts in 3s, %d leases counted", n, m.leases)
		}
		m.refuse = nil
		m.run(1100 * time.Millisecond)
		if m.leases != 1 {
			t.Errorf("%d leases ended after the failures", m.leases)
		}
	})
}

// TestClusterTimeIsWritten writes the cluster time to the log while deadlines wait and no entry
// carries it.
func TestClusterTimeIsWritten(t *testing.T) {
	inBubble(t, func(t *testing.T, m *fakeMember) {
		m.run(3 * time.Second)
		if m.written != 0 {
			t.Errorf("written %d times without a deadline", m.written)
		}
		m.add(leaseDeadline(time.Hour, 5))
		m.run(time.Second)
		if m.written == 0 {
			t.Error("not written although a deadline waits")
		}
		m.written, m.applied = 0, kv.ClusterTime(time.Since(m.start))
		m.run(900 * time.Millisecond)
		if m.written != 0 {
			t.Errorf("written %d times although an entry has just carried it", m.written)
		}
	})
}
