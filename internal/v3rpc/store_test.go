package v3rpc

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
	"cairn/internal/watch"
)

// localStore implements Requests, Role and Watches of a Member with keys and a hub, and with
// authentication disabled.
type localStore struct {
	db   *storage.Store
	keys *mvcc.Store
	hub  *watch.Hub
	gate *auth.Gate

	reads atomic.Int64 // calls of Keys

	w *mvcc.Writer
	b *storage.Batch
}

// newLocalStore returns an empty store. It is closed when the test ends.
func newLocalStore(t testing.TB, limits watch.Limits) *localStore {
	t.Helper()
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS(), MemTableBytes: 4 << 20, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := mvcc.Open(db, mvcc.FirstRevision, 0)
	if err != nil {
		t.Fatal(err)
	}
	users, err := auth.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	gate, err := auth.NewGate(users, auth.GateConfig{Now: time.Now, Rand: bytes.NewReader(make([]byte, 64))})
	if err != nil {
		t.Fatal(err)
	}
	m := &localStore{db: db, keys: keys, gate: gate, hub: watch.New(keys, limits), w: keys.NewWriter(), b: db.NewBatch()}
	t.Cleanup(func() {
		m.hub.Close()
		if err := errors.Join(m.b.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *localStore) member() Member { return Member{Requests: m, Role: m, Watches: m, Leases: m} }

// ClusterTime implements Leases.
func (*localStore) ClusterTime() kv.ClusterTime { return 1 }

// RenewLeases implements Leases.
func (*localStore) RenewLeases(context.Context, []kv.LeaseID, []int64) (int64, error) {
	return 0, errors.New("not in this test")
}

// RenewAtOnce implements Leases.
func (*localStore) RenewAtOnce(kv.LeaseID) (ttl, revision int64, ok bool) { return 0, 0, false }

// Deadline implements Leases.
func (*localStore) Deadline(_ context.Context, _ kv.ClusterTime, l *lease.Lease) kv.ClusterTime {
	return l.Deadline
}

// IsLearner implements Role.
func (*localStore) IsLearner() bool { return false }

func (*localStore) Leader() uint64              { return 1 }
func (*localStore) LeaderLost() <-chan struct{} { return nil }
func (m *localStore) Propose(context.Context, machine.Kind, []byte) (*machine.Result, error) {
	return nil, errors.New("nothing is proposed in this test")
}

func (m *localStore) Watches() *watch.Hub                    { return m.hub }
func (m *localStore) Gate() *auth.Gate                       { return m.gate }
func (m *localStore) RaftStatus() (uint64, uint64)           { return 1, 1 }
func (m *localStore) WaitLinearizable(context.Context) error { return nil }

// Keys implements Requests.
func (m *localStore) Keys() *mvcc.Store {
	m.reads.Add(1)
	return m.keys
}

// change applies writes as one command.
func (m *localStore) change(t testing.TB, write func(w *mvcc.Writer) error) {
	t.Helper()
	m.b.Reset()
	err := m.w.Begin(m.b)
	m.w.Start()
	if err = errors.Join(err, write(m.w), m.w.End(), m.w.Finish(), m.b.Commit(false)); err != nil {
		t.Fatal(err)
	}
	m.w.Publish()
	m.hub.Publish(m.w.Events(), m.w.EventCount())
	m.hub.Dispatch()
}

func (m *localStore) put(t testing.TB, key string, value []byte) {
	t.Helper()
	m.change(t, func(w *mvcc.Writer) error {
		_, err := w.Put(&mvcc.PutOp{Key: []byte(key), Value: value})
		return err
	})
}

// replace installs a snapshot: a copy of the state replaces the state while it is read.
func (m *localStore) replace(t testing.TB) {
	t.Helper()
	tables, err := m.db.NewTables("incoming")
	if err != nil {
		t.Fatal(err)
	}
	it := m.db.NewIter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		if err := tables.Add(it.Key(), it.Value()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(it.Close(), tables.Finish()); err != nil {
		t.Fatal(err)
	}
	head := m.keys.Head()
	r := m.keys.BeginReplace()
	defer r.Done()
	if err := errors.Join(m.db.Replace(tables), r.Publish(head.Revision, head.CompactRevision), m.w.Forget()); err != nil {
		t.Fatal(err)
	}
}
