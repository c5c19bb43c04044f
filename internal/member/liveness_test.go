package member

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"cairn/internal/invariant"
	"cairn/internal/membership"
	"cairn/internal/storage"
)

// TestPanicFailsMember: a panic in a step of any role fails the member with the reason, also on a
// goroutine whose caller would recover it.
func TestPanicFailsMember(t *testing.T) {
	for _, name := range []string{"raft loop", "log writer", "applier"} {
		t.Run(name, func(t *testing.T) {
			m := start(t, testConfig(newDisk(t)))
			role := map[string]*role{"raft loop": &m.raft.role, "log writer": &m.logs.role, "applier": &m.applier.role}[name]
			role.do(func() { panic("tocommit(7) is out of range") })
			<-m.Failed()
			err := m.Err()
			if err == nil || !strings.Contains(err.Error(), "panic in the "+name+": tocommit(7) is out of range") {
				t.Errorf("failed with: %v", err)
			}
			if live := m.Live(); !errors.Is(live, err) {
				t.Errorf("Live() = %v, want the member's failure", live)
			}
			if _, err := put(m, "k", "v"); !errors.Is(err, ErrStopped) {
				t.Errorf("put: %v, want %v", err, ErrStopped)
			}
			closeMember(t, m)
		})
	}
}

// TestImpossibleMessages: messages that no correct member sends change nothing, and the cluster
// continues.
func TestImpossibleMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		leader, follower := c.leader(), c.follower()
		forged := func(to *Member, from uint64, kind raftpb.MessageType, change func(m *raftpb.Message)) {
			_, term := to.RaftStatus()
			m := &raftpb.Message{Type: kind.Enum(), From: &from, To: proto.Uint64(to.ID()), Term: &term}
			change(m)
			c.net.handlers[to.ID()].h.Receive(context.Background(), m)
		}
		for _, from := range []uint64{77, leader.ID()} {
			forged(follower, from, raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Commit = proto.Uint64(1 << 50) })
			forged(follower, from, raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Term = proto.Uint64(1<<64 - 1) })
			forged(follower, from, raftpb.MsgSnap, func(m *raftpb.Message) {
				m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
					Index: proto.Uint64(1 << 40), Term: proto.Uint64(1), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}},
				}}
			})
		}
		for _, from := range []uint64{77, follower.ID()} {
			for _, kind := range []raftpb.EntryType{raftpb.EntryNormal, raftpb.EntryConfChange, raftpb.EntryConfChangeV2} {
				forged(leader, from, raftpb.MsgProp, func(m *raftpb.Message) {
					m.Term, m.Entries = nil, []*raftpb.Entry{{Type: kind.Enum(), Data: []byte("\x00garbage")}}
				})
			}
		}
		for _, m := range c.members {
			putUntilTaken(t, m, "after", "v")
			if err := errors.Join(m.Err(), m.Live()); err != nil {
				t.Errorf("member %d: %v", m.ID(), err)
			}
		}
	})
}

// TestHungDisk: while an fsync hangs, a request's context ends its wait, and after some election
// timeouts the member no longer reports that it is live.
func TestHungDisk(t *testing.T) {
	d := newDisk(t)
	cfg := testConfig(d)
	cfg.TickInterval, cfg.ElectionTicks = 5*time.Millisecond, 4
	m := start(t, cfg)
	defer closeMember(t, m)
	mustPut(t, m, "k", "before")
	if err := m.Live(); err != nil {
		t.Fatalf("not live: %v", err)
	}
	hung, resume := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hang := func() error {
		once.Do(func() { close(hung) })
		<-resume
		return nil
	}
	d.onSync.Store(&hang)
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	go func() {
		_, err := putContext(ctx, m, "k", "hung")
		failed <- err
	}()
	<-hung
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the put that met the hung disk: %v, want %v", err, context.Canceled)
	}
	await(t, "the member to be stuck", func() bool { return m.Live() != nil })
	if err := m.Live(); !strings.Contains(err.Error(), "log writer has been stuck in one step") {
		t.Errorf("Live() = %v", err)
	}
	d.onSync.Store(nil)
	close(resume)
	await(t, "the member to be live again", func() bool { return m.Live() == nil })
	mustPut(t, m, "k", "after")
}

// TestDataDirectoryRemoved: a member one of whose directories is removed, renamed or replaced while
// it runs fails.
func TestDataDirectoryRemoved(t *testing.T) {
	for _, part := range []string{"", "log", "state", "linked"} {
		for _, replaced := range []bool{false, true} {
			dir := filepath.Join(t.TempDir(), "data", "member")
			if err := Initialize(nil, dir, []membership.Member{{ID: 1}}); err != nil {
				t.Fatal(err)
			}
			away := filepath.Join(dir, part)
			if part == "linked" { // as --wal-dir does
				away = filepath.Join(t.TempDir(), "log")
				if err := errors.Join(os.Rename(logDir(dir), away), os.Symlink(away, logDir(dir))); err != nil {
					t.Fatal(err)
				}
			}
			cfg := testConfig(nil)
			cfg.Dir = dir
			if replaced { // as --unsafe-no-fsync does
				cfg.FS = storage.WithoutSync(storage.OSFS)
			}
			m := start(t, cfg)
			if err := os.Rename(away, away+".away"); err != nil {
				t.Fatal(err)
			}
			if replaced {
				if err := os.Mkdir(away, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			<-m.Failed()
			if err := m.Err(); !strings.Contains(err.Error(), "the data directory is gone") {
				t.Errorf("%q, replaced %t: failed with: %v", part, replaced, err)
			}
			_ = m.Close() // the stores' files were moved
		}
	}
	dir := filepath.Join(t.TempDir(), "data", "member")
	if err := Initialize(nil, dir, []membership.Member{{ID: 1}}); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(nil)
	cfg.Dir = dir
	m := start(t, cfg)
	if err := os.Rename(filepath.Dir(dir), filepath.Dir(dir)+".away"); err != nil { // the one above it
		t.Fatal(err)
	}
	<-m.Failed()
	_ = m.Close()
}

// TestDoubleFinish: completing a request twice is a bug, and panics.
func TestDoubleFinish(t *testing.T) {
	var b inbox
	b.wake = make(chan struct{}, 1)
	p, err := b.submit(context.Background(), 1, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	p.finish(nil)
	defer func() {
		v, ok := recover().(*invariant.Violation)
		if !ok || !strings.Contains(v.Error(), "completed twice") {
			t.Errorf("the second finish: %v", v)
		}
	}()
	p.finish(ErrTimeout)
}

// TestNoLeader: without a quorum no request succeeds, and every request fails in time.
func TestNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{CrashableFS: storage.NewCrashableFS()}
		if err := Initialize(d, "member", []membership.Member{{ID: 1}, {ID: 2}}); err != nil {
			t.Fatal(err)
		}
		m, err := Start(testConfig(d))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		began := time.Now()
		inTime := func(what string, err error) {
			took := time.Since(began)
			if !errors.Is(err, ErrTimeout) || took < m.requestTimeout() || took > m.requestTimeout()+time.Second {
				t.Errorf("%s returned %v after %v, want %v after %v", what, err, took, ErrTimeout, m.requestTimeout())
			}
		}
		for range 3 {
			wg.Add(2)
			go func() {
				defer wg.Done()
				_, err := put(m, "k", "x")
				inTime("put", err)
			}()
			go func() {
				defer wg.Done()
				inTime("linearizable read", m.WaitLinearizable(context.Background()))
			}()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := m.WaitLinearizable(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read with a deadline: %v", err)
		}
		wg.Wait()
		select {
		case <-m.Ready():
			t.Error("ready without a leader")
		default:
		}
		if err := m.Healthy(context.Background()); err == nil || m.Leader() != 0 {
			t.Errorf("healthy without a leader: %v, %x", err, m.Leader())
		}
		// Closing completes the requests that still wait.
		late := make(chan error, 1)
		go func() {
			_, err := put(m, "k", "x")
			late <- err
		}()
		synctest.Wait()
		closeMember(t, m)
		if err := <-late; !errors.Is(err, ErrStopped) {
			t.Errorf("put during Close: %v", err)
		}
	})
}
