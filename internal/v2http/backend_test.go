package v2http

import (
	"context"
	"errors"
	"sync"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

// tree is a Backend of one store, without a log: it does what a member does to a command between
// request and response.
type tree struct {
	mu    sync.Mutex
	db    *storage.Store
	store *mvcc.Store
	w     *mvcc.Writer
	b     *storage.Batch
	clock func() kv.ClusterTime
	index uint64
	fail  error // of ProposeV2 and WaitLinearizable
	full  error // of CheckSpace
}

func openTree(clock func() kv.ClusterTime) (*tree, error) {
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS(), MemTableBytes: 1 << 20, CacheBytes: 1 << 20})
	if err != nil {
		return nil, err
	}
	store, err := mvcc.Open(db, mvcc.FirstRevision, 0)
	if err != nil {
		return nil, err
	}
	return &tree{db: db, store: store, w: store.NewWriter(), b: db.NewBatch(), clock: clock}, nil
}

func newTree(t testing.TB, clock func() kv.ClusterTime) *tree {
	s, err := openTree(clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.b.Close(), s.db.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *tree) ProposeV2(_ context.Context, c *v2tree.Command) (v2tree.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return v2tree.Result{}, s.fail
	}
	decoded, err := v2tree.Decode(c.Append(nil))
	if err != nil {
		return v2tree.Result{}, err
	}
	return s.apply(&decoded)
}

func (s *tree) apply(c *v2tree.Command) (v2tree.Result, error) {
	s.index++
	s.b.Reset()
	if err := s.w.Begin(s.b); err != nil {
		return v2tree.Result{}, err
	}
	s.w.Start()
	res, refused := v2tree.Apply(s.w, s.clock(), c)
	if refused != nil {
		s.w.Abort()
		return res, refused
	}
	if err := errors.Join(s.w.End(), s.w.Finish(), s.b.Commit(false)); err != nil {
		return res, err
	}
	s.w.Publish()
	return res, nil
}

// expire expires due nodes, as a leader does at intervals.
func (s *tree) expire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	due, err := v2tree.Due(s.store.Reading(), 0, s.clock(), 100)
	for i := range due {
		if err == nil {
			_, err = s.apply(&due[i])
		}
	}
	return err
}

func (s *tree) CheckSpace() error                      { return s.full }
func (s *tree) Read() mvcc.Reading                     { return s.store.Reading() }
func (s *tree) WaitLinearizable(context.Context) error { return s.fail }
func (s *tree) Now() kv.ClusterTime                    { return s.clock() }
func (s *tree) ClusterID() string                      { return "cdf818194e3a8c32" }

func (s *tree) RaftStatus() (index, term uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index, 2
}
