package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/raftlog"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
)

// node is one replica of a small cluster, with its own disk.
type node struct {
	id                uint64
	fs                *watchedFS
	watch             atomic.Pointer[func()] // called at each sync
	logStore, stateDB *storage.Store
	log               *raftlog.Log
	machine           *machine.Machine
	r                 *Replica
	installed         int
	acked             atomic.Uint64 // the last entry that it has acknowledged to a leader
	// spoil changes the stream of a snapshot in transit.
	spoil func([]byte) []byte
}

const nodes = 3

// newNodeDisk returns a disk with the durable stores of a member of a new cluster.
func newNodeDisk(t testing.TB) storage.CrashableFS {
	t.Helper()
	fs := storage.NewCrashableFS()
	var founders []membership.Member
	for id := uint64(1); id <= nodes; id++ {
		founders = append(founders, membership.Member{ID: id, PeerURLs: []string{fmt.Sprint("http://", id)}})
	}
	state, err := storage.OpenState("state", storeOptions(fs))
	must(t, err)
	logStore, err := storage.OpenLog("log", storeOptions(fs))
	must(t, err)
	must(t, errors.Join(machine.Initialize(state, 1, 1, founders), raftlog.Initialize(logStore, 1, 1), state.Close(), logStore.Close()))
	root, err := fs.OpenDir("/")
	must(t, err)
	must(t, errors.Join(root.Sync(), root.Close()))
	return fs
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openNode starts a replica from the stores of a disk.
func openNode(id uint64, fs storage.CrashableFS) (*node, error) {
	n := &node{id: id}
	n.fs = &watchedFS{CrashableFS: fs, onSync: func() {
		if watch := n.watch.Load(); watch != nil {
			(*watch)()
		}
	}}
	var err error
	if n.stateDB, err = storage.OpenState("state", storeOptions(n.fs)); err != nil {
		return nil, err
	}
	if n.logStore, err = storage.OpenLog("log", storeOptions(n.fs)); err != nil {
		return nil, errors.Join(err, n.close())
	}
	if n.machine, err = machine.Open(n.stateDB); err != nil {
		return nil, errors.Join(err, n.close())
	}
	if n.log, err = raftlog.Open(n.logStore, n.machine.AppliedIndex(), n.machine.ConfState()); err != nil {
		return nil, errors.Join(err, n.close())
	}
	n.r, err = New(Config{
		ID: id, ElectionTicks: 10, Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
		ClusterID: 7, FS: n.fs, ReceiveDir: "receive",
	}, n.log, n.machine)
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *node) close() (err error) {
	if n.machine != nil {
		err = n.machine.Close()
	}
	for _, db := range []*storage.Store{n.stateDB, n.logStore} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// run does all work of a node, and returns the messages to send.
func (n *node) run() (out []*raftpb.Message, err error) {
	give := func(responses []*raftpb.Message, failed error) {
		err = errors.Join(err, failed)
		for _, m := range responses {
			if m.GetTo() == n.id {
				err = errors.Join(err, n.r.Step(0, m))
				continue
			}
			if m.GetType() == raftpb.MsgAppResp && !m.GetReject() {
				n.acked.Store(max(n.acked.Load(), m.GetIndex()))
			}
			out = append(out, m)
		}
	}
	for err == nil {
		w, ok := n.r.Work(0)
		if !ok {
			return out, nil
		}
		give(w.Send, nil)
		if w.Append != nil {
			responses, left, failed := n.r.Append([]*raftpb.Message{w.Append})
			give(responses, failed)
			if len(left) > 0 && err == nil {
				give(n.r.Install(left[0]))
				n.installed++
			}
		}
		if w.Apply != nil && err == nil {
			_, applied, failed := n.r.Apply([]*raftpb.Message{w.Apply})
			changes := applied
			changes.Responses = nil
			give(applied.Responses, errors.Join(failed, n.r.Finish(0, changes)))
		}
	}
	return out, err
}

// cluster delivers messages between nodes at once, except to and from nodes that are cut off.
type cluster struct {
	nodes map[uint64]*node
	cut   map[uint64]bool
	slow  map[uint64]bool // nodes that entries do not reach yet
	// snapshots counts those sent, refused those that failed.
	snapshots, refused int
	refusal            error
}

func newCluster(t testing.TB) *cluster {
	c := &cluster{nodes: map[uint64]*node{}, cut: map[uint64]bool{}, slow: map[uint64]bool{}}
	for id := uint64(1); id <= nodes; id++ {
		n, err := openNode(id, newNodeDisk(t))
		must(t, err)
		c.nodes[id] = n
	}
	t.Cleanup(func() { c.close(t) })
	return c
}

func (c *cluster) close(t testing.TB) {
	for _, n := range c.nodes {
		must(t, n.close())
	}
}

// runUntilIdle runs all nodes until none has work.
func (c *cluster) runUntilIdle() error {
	for range 10_000 {
		idle := true
		for id := uint64(1); id <= nodes; id++ {
			n := c.nodes[id]
			out, err := n.run()
			if err != nil {
				return fmt.Errorf("node %d: %w", id, err)
			}
			for _, m := range out {
				idle = false
				if err := c.deliver(n, m); err != nil {
					return fmt.Errorf("%v from %d to %d: %w", m.GetType(), id, m.GetTo(), err)
				}
			}
		}
		if idle {
			return nil
		}
	}
	return errors.New("the cluster's work never ends")
}

func (c *cluster) deliver(from *node, m *raftpb.Message) error {
	to := c.nodes[m.GetTo()]
	reached := !c.cut[from.id] && !c.cut[to.id]
	if m.GetType() == raftpb.MsgSnap {
		if !reached {
			from.r.ReportSnapshot(to.id, false)
			return nil
		}
		return c.transfer(from, to, m)
	}
	if m.GetType() == raftpb.MsgApp && c.slow[to.id] {
		reached = false
	}
	if reached {
		return to.r.Step(0, m)
	}
	return nil
}

// transfer sends a snapshot from one node to another.
func (c *cluster) transfer(from, to *node, m *raftpb.Message) error {
	c.snapshots++
	source, err := from.r.OpenSnapshot()
	if err != nil {
		return err
	}
	b, err := io.ReadAll(source)
	if err = errors.Join(err, source.Close()); err != nil {
		return err
	}
	if to.spoil != nil {
		b = to.spoil(b)
	}
	in, err := to.r.ReceiveSnapshot(m, bytes.NewReader(b))
	from.r.ReportSnapshot(to.id, err == nil)
	if err != nil {
		c.refused++
		c.refusal = err
		return nil
	}
	return to.r.Step(0, in)
}

func (c *cluster) leader() *node {
	for _, n := range c.nodes {
		if n.r.Leads() && !c.cut[n.id] {
			return n
		}
	}
	return nil
}

// tick advances all nodes.
func (c *cluster) tick(n int) error {
	for range n {
		for id := uint64(1); id <= nodes; id++ {
			c.nodes[id].r.Tick()
		}
		if err := c.runUntilIdle(); err != nil {
			return err
		}
	}
	return nil
}

// write proposes random batches to the leader.
func (c *cluster) write(rng *rand.Rand, batches [][]step, n int) ([][]step, error) {
	leader := c.leader()
	for range n {
		number := uint64(len(batches) + 1)
		steps := drawBatch(rng, number, leader.machine.Keys().Head().Revision)
		commands := make([]Command, len(steps))
		for i := range steps {
			commands[i] = steps[i].command
		}
		batches = append(batches, steps)
		if err := errors.Join(leader.r.Propose(time.Second, number, commands), c.runUntilIdle()); err != nil {
			return nil, err
		}
	}
	return batches, nil
}

// leaveBehind makes a cluster whose node 3 lacks entries that the others' logs no longer have.
func leaveBehind(t testing.TB, rng *rand.Rand) (*cluster, [][]step) {
	t.Helper()
	c := newCluster(t)
	must(t, errors.Join(c.nodes[1].r.Campaign(), c.runUntilIdle()))
	batches, err := c.write(rng, nil, 10)
	must(t, err)
	c.cut[3] = true
	batches, err = c.write(rng, batches, 40)
	must(t, err)
	for _, id := range []uint64{1, 2} {
		must(t, c.nodes[id].machine.Flush())
		must(t, c.nodes[id].r.Truncate(keepEntries(2)))
	}
	return c, batches
}

// contentOf returns all key-values of a store as one string.
func contentOf(t testing.TB, db *storage.Store) string {
	t.Helper()
	var b strings.Builder
	it := db.NewIter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		fmt.Fprintf(&b, "%q=%q\n", it.Key(), it.Value())
	}
	must(t, it.Close())
	return b.String()
}

func TestSnapshotCatchesFollowerUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	c, batches := leaveBehind(t, rng)
	before := c.nodes[3].machine.Keys().Head().Revision
	c.cut[3] = false
	must(t, c.tick(3))
	n := c.nodes[3]
	if n.installed != 1 || c.snapshots != 1 || c.refused != 0 {
		t.Fatalf("%d snapshots sent, %d refused (%v), %d installed; want one of each", c.snapshots, c.refused, c.refusal, n.installed)
	}
	if got, want := contentOf(t, n.stateDB), contentOf(t, c.nodes[1].stateDB); got != want {
		t.Errorf("after the snapshot the follower has\n%s\nthe leader\n%s", got, want)
	}
	if now := n.machine.Keys().Head().Revision; now <= before {
		t.Errorf("revision %d after %d", now, before)
	}
	must(t, replay(batches, uint64(len(batches))).compare(n.machine.Keys()))
	// The follower continues from there, also after a restart.
	batches, err := c.write(rng, batches, 10)
	must(t, err)
	must(t, c.tick(3))
	must(t, replay(batches, uint64(len(batches))).compare(n.machine.Keys()))
	must(t, n.close())
	if c.nodes[3], err = openNode(3, n.fs.CrashableFS); err != nil {
		t.Fatal(err)
	}
	must(t, c.tick(3))
	must(t, replay(batches, uint64(len(batches))).compare(c.nodes[3].machine.Keys()))
	if c.snapshots != 1 {
		t.Errorf("%d snapshots were sent, want 1", c.snapshots)
	}
}

// TestDamagedSnapshot checks that a damaged stream does not change the state, and that the next,
// intact one does.
func TestDamagedSnapshot(t *testing.T) {
	c, batches := leaveBehind(t, rand.New(rand.NewPCG(2, 1)))
	n := c.nodes[3]
	before := contentOf(t, n.stateDB)
	spoils := []func(b []byte) []byte{
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return append(b, 0) },
		func(b []byte) []byte { b = slices.Clone(b); b[len(b)/2] ^= 1; return b },
	}
	for i, spoil := range spoils {
		n.spoil = spoil
		c.cut[3] = false
		must(t, c.tick(3))
		if c.refused == 0 || !errors.Is(c.refusal, snapshot.ErrCorrupt) || n.installed != 0 {
			t.Errorf("spoilt way %d: %d refused (%v), %d installed", i, c.refused, c.refusal, n.installed)
		}
		c.refused, c.refusal = 0, nil
	}
	if got := contentOf(t, n.stateDB); got != before {
		t.Errorf("the state has changed to\n%s", got)
	}
	n.spoil = nil
	must(t, c.tick(5))
	must(t, replay(batches, uint64(len(batches))).compare(n.machine.Keys()))
}

func TestSnapshotOfAnotherCluster(t *testing.T) {
	c, _ := leaveBehind(t, rand.New(rand.NewPCG(3, 1)))
	c.nodes[3].r.clusterID = 8
	c.cut[3] = false
	must(t, c.tick(3))
	if c.refused == 0 || !strings.Contains(c.refusal.Error(), "it is of cluster 7, this member is of 8") {
		t.Errorf("%d refused: %v", c.refused, c.refusal)
	}
}

// TestOpenSnapshotKeepsLog checks that the log is not truncated beyond an outgoing snapshot.
func TestOpenSnapshotKeepsLog(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	c, batches := leaveBehind(t, rng)
	leader := c.nodes[1]
	out, err := leader.r.OpenSnapshot()
	must(t, err)
	_, err = c.write(rng, batches, 20)
	must(t, err)
	must(t, errors.Join(leader.machine.Flush(), leader.r.Truncate(Keep{})))
	if first, _ := leader.log.FirstIndex(); first != out.Meta().Index+1 {
		t.Errorf("the log begins at entry %d with an outgoing snapshot at %d", first, out.Meta().Index)
	}
	must(t, out.Close())
	must(t, leader.r.Truncate(Keep{}))
	if first, _ := leader.log.FirstIndex(); first != leader.machine.AppliedIndex()+1 {
		t.Errorf("the log begins at entry %d, applied is %d", first, leader.machine.AppliedIndex())
	}
}

// powerCut has the disks of a cluster after a power failure of all nodes, and what node 3 had
// acknowledged by then.
type powerCut struct {
	disks map[uint64]storage.CrashableFS
	acked uint64
}

// reopen restarts the cluster after a power failure.
func (p *powerCut) reopen(t testing.TB) *cluster {
	c := &cluster{nodes: map[uint64]*node{}, cut: map[uint64]bool{}, slow: map[uint64]bool{}}
	for id, disk := range p.disks {
		n, err := openNode(id, disk)
		must(t, err)
		c.nodes[id] = n
	}
	return c
}

// TestCrashAtEverySyncOfInstall cuts the power before and after every sync of a follower, from the
// start of receiving a snapshot until it has applied entries after it. The remaining state must be
// the old one or the new one, must have what the follower had acknowledged, and must catch up.
func TestCrashAtEverySyncOfInstall(t *testing.T) {
	total, old, replaced := 0, 0, 0
	play := func(seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 5))
		c, batches := leaveBehind(t, rng)
		n := c.nodes[3]
		before := n.machine.AppliedIndex()
		var mu sync.Mutex // pebble's goroutines sync, too
		var cuts []powerCut
		watch := func() {
			mu.Lock()
			defer mu.Unlock()
			cut := powerCut{disks: map[uint64]storage.CrashableFS{}, acked: n.acked.Load()}
			for id, other := range c.nodes {
				cut.disks[id] = other.fs.Crash(100, rng)
			}
			cut.disks[3] = n.fs.Crash([]int{0, 50, 100}[rng.IntN(3)], rng)
			cuts = append(cuts, cut)
		}
		n.watch.Store(&watch)
		c.cut[3] = false
		must(t, c.tick(3))
		n.watch.Store(nil)
		mu.Lock() // waits for a sync in progress
		defer mu.Unlock()
		snapshotAt := n.machine.AppliedIndex()
		if n.installed != 1 {
			t.Fatalf("seed %d: %d installed", seed, n.installed)
		}
		for i := range cuts {
			fail := func(format string, args ...any) {
				t.Helper()
				t.Errorf("seed %d, power cut %d of %d: %s", seed, i, len(cuts), fmt.Sprintf(format, args...))
			}
			again := cuts[i].reopen(t)
			crashed := again.nodes[3]
			switch at := crashed.machine.AppliedIndex(); {
			case at <= before:
				old++
			case at == snapshotAt:
				replaced++
			default:
				fail("applied entry %d, neither %d nor %d", at, before, snapshotAt)
			}
			if last, _ := crashed.log.LastIndex(); last < cuts[i].acked {
				fail("the log ends at entry %d, acknowledged was %d", last, cuts[i].acked)
			}
			if left, err := cuts[i].disks[3].List("receive"); err == nil && len(left) > 0 {
				fail("%q were left behind", left)
			}
			must(t, errors.Join(again.nodes[1].r.Campaign(), again.tick(15)))
			if again.leader() == nil {
				fail("no leader")
			} else if err := replay(batches, uint64(len(batches))).compare(crashed.machine.Keys()); err != nil {
				fail("%v", err)
			}
			again.close(t)
			total++
		}
	}
	play(1)
	play(2)
	t.Logf("%d power cuts checked: %d found the old state, %d the new one", total, old, replaced)
	if old == 0 || replaced == 0 {
		t.Errorf("of %d power cuts %d found the old state, %d the new one", total, old, replaced)
	}
}
