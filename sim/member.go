package sim

import (
	"errors"
	"io"
	"log"
	mrand "math/rand/v2"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/raftlog"
	"cairn/internal/replica"
	"cairn/internal/storage"
	"cairn/internal/watch"
)

// member is one member of the cluster: a replica, its disk, and a replacement of package member.
// Its roles are events.
type member struct {
	w    *world
	id   uint64
	name string
	// Its clock starts at offset, and is ppm millionths faster than the simulator's.
	offset, ppm int64

	disk *disk
	up   bool
	life int // incremented at each start; events of earlier starts do nothing
	// pausedUntil is when the stopped process continues, stalledUntil when the disk does.
	pausedUntil, stalledUntil int64
	suspendedAt               int64 // when its clock stopped, 0 while it runs
	cut                       *cut  // the surviving data of a power failure at the log's next sync
	left                      bool  // it was removed from the cluster

	logStore, state *storage.Store
	machine         *machine.Machine
	rlog            *raftlog.Log
	r               *replica.Replica
	hub             *watch.Hub
	promises        *lease.Promises

	// The queue of each role, and whether its event is scheduled.
	inbox           []*raftpb.Message
	applied         []replica.Applied
	proposals       []*proposal
	questions       []*question
	appends         []*raftpb.Message
	applies         []*raftpb.Message
	raftTurns       bool
	appendTurns     bool
	applyTurns      bool
	pending         map[uint64][]*proposal
	waiting         []*proposal // for an entry that is applied in part
	asked           map[uint64]*question
	askedOrder      []uint64
	reads           []*question // with a response, waiting for the applied index
	lastBatch       uint64
	lastRead        uint64
	unflushed       int
	expiring        int
	expirySince     int64
	led             bool
	streams         []*stream
	dispatching     bool
	appliedAtFlush  uint64
	lastAppliedSeen uint64
	spoiled         int64             // for planted bugs
	oldMembers      map[string][]byte // for planted bugs
	record          [2][]byte         // for planted bugs: key and value
	observed        int64             // the first revision that the simulator has not observed here
	snapshots       int               // that it has installed
}

// proposal is a command in progress. done is called with the result, or never.
type proposal struct {
	command replica.Command
	change  *raftpb.ConfChangeV2
	result  machine.Result
	done    func(*machine.Result)
}

// question is a linearizable read in progress.
type question struct {
	index uint64
	done  func()
}

func newMember(w *world, id uint64, rng *mrand.Rand) *member {
	return &member{
		w: w, id: id, name: nameOf(id), offset: rng.Int64N(1000 * second), ppm: rng.Int64N(801) - 400,
		disk: newDisk(storage.NewCrashableFS(), mrand.New(mrand.NewPCG(rng.Uint64(), 5))),
	}
}

func (m *member) options() storage.Options {
	return storage.Options{FS: m.disk, CacheBytes: 1 << 20, MemTableBytes: 1 << 20, Still: true}
}

// found makes the stores of an initial member and starts it.
func (m *member) found() {
	founders := make([]membership.Member, len(m.w.members))
	for i, other := range m.w.members {
		founders[i] = membership.Member{ID: other.id, Name: other.name, PeerURLs: []string{other.name}}
	}
	m.initialize(1, 1, founders)
	m.start()
}

func (m *member) initialize(index, term uint64, members []membership.Member) {
	err := func() error {
		state, err := storage.OpenState("state", m.options())
		if err != nil {
			return err
		}
		logStore, err := storage.OpenLog("log", m.options())
		if err != nil {
			return err
		}
		return errors.Join(machine.Initialize(state, index, term, members), raftlog.Initialize(logStore, index, term),
			state.Close(), logStore.Close(), syncDir(m.disk, "/"))
	}()
	if err != nil {
		m.w.fail("%s: initialize: %v", m.name, err)
	}
}

// start starts the member from the stores on its disk.
func (m *member) start() {
	if m.up || m.left || m.w.err != nil {
		return
	}
	m.life++
	m.inbox, m.applied, m.proposals, m.questions, m.appends, m.applies = nil, nil, nil, nil, nil, nil
	m.raftTurns, m.appendTurns, m.applyTurns, m.dispatching, m.led = false, false, false, false, false
	m.pending, m.asked, m.askedOrder, m.reads, m.waiting = map[uint64][]*proposal{}, map[uint64]*question{}, nil, nil, nil
	m.lastBatch, m.lastRead = m.w.rng.Uint64()>>1, m.w.rng.Uint64()>>1
	m.wake()
	m.unflushed, m.expiring, m.pausedUntil, m.stalledUntil, m.cut, m.streams = 0, 0, 0, 0, nil, nil
	if err := m.open(); err != nil {
		m.closeStores()
		if m.disk.full {
			m.w.note(m.name, "does not start: %v", err) // the end of the fault starts it again
			return
		}
		m.w.fail("%s does not start: %v", m.name, err)
		return
	}
	m.up = true
	m.appliedAtFlush, m.lastAppliedSeen = m.machine.AppliedIndex(), m.machine.AppliedIndex()
	first, _ := m.log().FirstIndex()
	last, _ := m.log().LastIndex()
	m.w.note(m.name, "starts: applied %d, log %d to %d", m.machine.AppliedIndex(), first, last)
	if m.r.SoleMember() && len(m.machine.Members()) == 1 {
		if err := m.r.Campaign(); err != nil {
			m.broken(err)
			return
		}
	}
	m.kick()
	m.later(m.w.between(0, tick), m.tick)
	m.later(m.w.between(0, tick), m.lookAtDeadlines)
	m.later(m.w.between(0, second), m.keepHouse)
	m.observe()
}

func (m *member) open() (err error) {
	if m.state, err = storage.OpenState("state", m.options()); err != nil {
		return err
	}
	if m.logStore, err = storage.OpenLog("log", m.options()); err != nil {
		return err
	}
	if m.machine, err = machine.Open(m.state); err != nil {
		return err
	}
	m.machine.DeferReads(1) // so that most ranges in transactions are deferred
	m.promises = lease.NewPromises(func() int64 { return m.machine.Keys().Head().Revision })
	m.machine.OnLeases(m.promises.Applied)
	rlog, err := raftlog.Open(m.logStore, m.machine.AppliedIndex(), m.machine.ConfState())
	if err != nil {
		return err
	}
	m.hub = watch.New(m.machine.Keys(), watch.Limits{
		QueueBytes: 20_000, WindowBytes: 8_000, StreamEvents: 12, HubEvents: 60, SliceEvents: 10, SliceBytes: 8_000, DeliveryEvents: 20,
	})
	quiet := &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)}
	m.r, err = replica.New(replica.Config{
		ID: m.id, ElectionTicks: electionTicks, Logger: quiet, ClusterID: 7, FS: m.disk, ReceiveDir: "receive",
	}, rlog, m.machine)
	m.rlog = rlog
	return err
}

func (m *member) log() *raftlog.Log { return m.rlog }

// stop stops the member: its memory is lost, the disk keeps its content.
func (m *member) stop() {
	if !m.up {
		return
	}
	m.up = false
	m.life++
	m.hub.Close()
	for _, s := range m.streams {
		s.lost()
	}
	m.closeStores()
}

func (m *member) closeStores() {
	if m.machine != nil {
		_ = m.machine.Close()
	}
	// An error of closing a store has no effect: only the disk counts.
	for _, s := range []*storage.Store{m.state, m.logStore} {
		if s != nil {
			_ = s.Close()
		}
	}
	m.machine, m.state, m.logStore, m.r = nil, nil, nil, nil
}

// crash stops the member by a power failure that leaves image on the disk.
func (m *member) crash(image storage.CrashableFS) {
	m.w.stats.Crashes++
	m.stop()
	if err := m.spoilLog(image); err != nil {
		m.w.fail("%s: %v", m.name, err)
	}
	m.disk = newDisk(image, m.disk.rng)
}

// powerCut is a crash at any moment.
func (m *member) powerCut() {
	if !m.up {
		return
	}
	m.w.note(m.name, "power cut")
	m.crash(m.disk.crash(nothing, ""))
}

// broken stops the member with an error. That is legal for members whose disks fail; otherwise it
// is a violation.
func (m *member) broken(err error) {
	m.w.note(m.name, "fails: %v", err)
	if !m.disk.full {
		m.w.fail("%s fails: %v", m.name, err)
		return
	}
	m.crash(m.disk.crash(nothing, ""))
}

// clock returns the member's time.
func (m *member) clock() time.Duration {
	return time.Duration(m.offset + m.w.now + m.w.now/1_000_000*m.ppm)
}

// later schedules do for this start of the member, postponed while the process is paused.
func (m *member) later(delay int64, do func()) {
	life := m.life
	var run func()
	run = func() {
		switch {
		case m.life != life || !m.up:
		case m.pausedUntil > m.w.now:
			m.w.after(m.pausedUntil-m.w.now+m.w.between(0, millisecond), run)
		default:
			do()
		}
	}
	m.w.after(delay, run)
}

// receive receives a message of another member.
func (m *member) receive(msg *raftpb.Message) {
	if m.up {
		m.inbox = append(m.inbox, msg)
		m.kick()
	}
}

// kick schedules the raft loop.
func (m *member) kick() {
	if !m.raftTurns {
		m.raftTurns = true
		m.later(m.w.between(0, millisecond/5), m.raftTurn)
	}
}

func (m *member) tick() {
	m.r.Tick()
	m.kick()
	m.later(tick, m.tick)
	if m.w.now/tick%10 == 0 { // raft drops read requests that could not be confirmed
		for _, id := range m.askedOrder {
			if m.asked[id] != nil {
				m.r.ReadIndex(id)
			}
		}
	}
}

// own reports whether the member steps a response itself; it sends the others.
func (m *member) own(responses []*raftpb.Message) {
	for _, msg := range responses {
		if msg.GetTo() == m.id {
			m.inbox = append(m.inbox, msg)
		} else {
			m.w.net.send(msg)
		}
	}
	m.kick()
}

// lookAtMembers checks whether this member was removed from the cluster, and stops it if so.
func (m *member) lookAtMembers() {
	if !m.machine.Removed(m.id) || m.left {
		return
	}
	m.left = true
	m.w.note(m.name, "was removed")
	m.later(m.w.between(0, second), m.stop)
}
