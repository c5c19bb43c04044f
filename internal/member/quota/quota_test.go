package quota_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/alarm"
	"cairn/internal/member/quota"
	"cairn/internal/storage"
)

const self = 7

// fakeStore is a state store of a given size.
type fakeStore struct {
	size      atomic.Uint64
	reclaimed atomic.Int32
	took      time.Duration // duration of each Reclaim
}

func (s *fakeStore) Size() (total, inUse uint64) { return s.size.Load(), s.size.Load() / 2 }
func (s *fakeStore) Measure()                    {}
func (s *fakeStore) Reclaim(ctx context.Context) error {
	s.reclaimed.Add(1)
	select {
	case <-time.After(s.took):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fakeMember keeps alarms as the state machine does.
type fakeMember struct {
	t     *testing.T
	db    *storage.Store
	table *alarm.Table
	sent  []alarm.Action
}

func newMember(t *testing.T) *fakeMember {
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	table, err := alarm.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeMember{t: t, db: db, table: table}
}

func (m *fakeMember) Alarms() *alarm.State { return m.table.Present() }

func (m *fakeMember) SignalAlarm(_ context.Context, action alarm.Action, kind alarm.Kind, id uint64) {
	m.sent = append(m.sent, action)
	m.apply(action, kind, id)
}

func (m *fakeMember) apply(action alarm.Action, kind alarm.Kind, id uint64) {
	b := m.db.NewBatch()
	m.table.Begin()
	m.table.Apply(b, &alarm.Command{Action: action, Kind: kind, Member: id})
	if err := errors.Join(b.Commit(false), b.Close()); err != nil {
		m.t.Error(err)
	}
	m.table.Publish()
}

func newSpace(m *fakeMember, s *fakeStore, bytes int64) *quota.Space {
	return quota.New(quota.Options{ID: self, Bytes: bytes, Store: s, Member: m, Log: slog.New(slog.DiscardHandler)})
}

// TestAlarmFollowsSize raises the alarm above the quota, once, and clears it below.
func TestAlarmFollowsSize(t *testing.T) {
	m, store := newMember(t), &fakeStore{}
	space := newSpace(m, store, 100)
	ctx := context.Background()
	for _, step := range []struct {
		size uint64
		want error
		sent []alarm.Action
	}{
		{100, nil, nil},
		{101, alarm.ErrNoSpace, []alarm.Action{alarm.Raise}},
		{500, alarm.ErrNoSpace, []alarm.Action{alarm.Raise}},
		{99, nil, []alarm.Action{alarm.Raise, alarm.Lift}},
		{50, nil, []alarm.Action{alarm.Raise, alarm.Lift}},
	} {
		store.size.Store(step.size)
		space.Tend(ctx)
		if err := space.CheckSpace(); !errors.Is(err, step.want) {
			t.Errorf("%d bytes: CheckSpace returns %v, want %v", step.size, err, step.want)
		}
		if !slices.Equal(m.sent, step.sent) {
			t.Errorf("%d bytes: alarm commands %v, want %v", step.size, m.sent, step.sent)
		}
	}
	if total, inUse := space.StateBytes(); total != 50 || inUse != 25 || space.QuotaBytes() != 100 {
		t.Errorf("%d bytes, %d in use, quota %d", total, inUse, space.QuotaBytes())
	}
	space.Wait()
}

// TestOperatorsAlarmStays keeps an alarm that an operator has activated, whatever the size.
func TestOperatorsAlarmStays(t *testing.T) {
	m, store := newMember(t), &fakeStore{}
	space := newSpace(m, store, 100)
	m.apply(alarm.Activate, alarm.NoSpace, self)
	space.Tend(context.Background())
	if err := space.CheckSpace(); !errors.Is(err, alarm.ErrNoSpace) || len(m.sent) != 0 {
		t.Errorf("CheckSpace returns %v, alarm commands %v", err, m.sent)
	}
}

// TestWriteWakesTend refuses a write above the quota before Tend has checked the size, and wakes
// Tend.
func TestWriteWakesTend(t *testing.T) {
	m, store := newMember(t), &fakeStore{}
	space := newSpace(m, store, 100)
	store.size.Store(200)
	for range 3 { // a full channel must not block
		if err := space.CheckSpace(); !errors.Is(err, alarm.ErrNoSpace) {
			t.Fatalf("CheckSpace returns %v", err)
		}
	}
	select {
	case <-space.Wake():
	default:
		t.Error("a refused write does not wake Tend")
	}
	none := newSpace(m, store, 0)
	none.Tend(context.Background())
	if err := none.CheckSpace(); err != nil {
		t.Errorf("without a quota: %v", err)
	}
}

// TestReclaim rewrites files once per swept compaction while the state is above the quota, and
// pauses four times as long as that took.
func TestReclaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := newMember(t), &fakeStore{took: time.Second}
		space := newSpace(m, store, 100)
		store.size.Store(200)
		expect := func(when string, want int32) {
			t.Helper()
			space.Tend(context.Background())
			synctest.Wait()
			if got := store.reclaimed.Load(); got != want {
				t.Errorf("%s: reclaimed %d times, want %d", when, got, want)
			}
		}
		expect("nothing was compacted", 0)
		space.Swept(10)
		expect("after a compaction", 1)
		space.Swept(20)
		expect("while it is reclaiming", 1)
		space.Wait()
		expect("at once after it", 1)
		time.Sleep(4 * time.Second)
		expect("after the rest", 2)
		space.Wait()
		time.Sleep(time.Minute)
		expect("without another compaction", 2)
	})
}
