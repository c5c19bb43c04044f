package replica

import (
	"errors"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/storage"
)

// followedDisk is the disk of member 1 of three, which follows member 2 in term 3.
func followedDisk(t testing.TB) storage.CrashableFS {
	t.Helper()
	disk := newNodeDisk(t)
	n, err := openNode(1, disk)
	must(t, err)
	follow(t, n)
	must(t, n.machine.Flush())
	must(t, n.close())
	return disk
}

// follow passes a node a heartbeat of its leader, and an entry.
func follow(t testing.TB, n *node) {
	t.Helper()
	data := machine.AppendCommand(machine.Header{Origin: 2, Batch: 1}.Append(nil), machine.KindAutoCompact, machine.AppendCompact(nil, 1))
	last, err := n.log.LastIndex()
	must(t, err)
	logTerm, err := n.log.Term(last)
	must(t, err)
	m := message(raftpb.MsgApp, func(m *raftpb.Message) {
		m.Term, m.Index, m.LogTerm, m.Commit = proto.Uint64(3), &last, &logTerm, proto.Uint64(last+1)
		m.Entries = []*raftpb.Entry{{Type: raftpb.EntryNormal.Enum(), Index: proto.Uint64(last + 1), Term: proto.Uint64(3), Data: data}}
	})
	must(t, n.r.CheckMessage(m))
	must(t, n.r.Step(0, m))
	_, err = n.run()
	must(t, err)
}

// message is a message from member 2 to member 1, in term 3.
func message(kind raftpb.MessageType, change ...func(m *raftpb.Message)) *raftpb.Message {
	m := &raftpb.Message{Type: kind.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Term: proto.Uint64(3)}
	if kind == raftpb.MsgProp || kind == raftpb.MsgReadIndex {
		m.Term = nil
	}
	for _, c := range change {
		c(m)
	}
	return m
}

func from(id uint64) func(*raftpb.Message)    { return func(m *raftpb.Message) { m.From = &id } }
func to(id uint64) func(*raftpb.Message)      { return func(m *raftpb.Message) { m.To = &id } }
func term(term uint64) func(*raftpb.Message)  { return func(m *raftpb.Message) { m.Term = &term } }
func commit(at uint64) func(*raftpb.Message)  { return func(m *raftpb.Message) { m.Commit = &at } }
func index(at uint64) func(*raftpb.Message)   { return func(m *raftpb.Message) { m.Index = &at } }
func logTerm(at uint64) func(*raftpb.Message) { return func(m *raftpb.Message) { m.LogTerm = &at } }

func entries(es ...*raftpb.Entry) func(*raftpb.Message) {
	return func(m *raftpb.Message) { m.Entries = es }
}

func snapshotOf(index, term uint64, voters ...uint64) func(*raftpb.Message) {
	return func(m *raftpb.Message) {
		m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: &term, ConfState: &raftpb.ConfState{Voters: voters}}}
	}
}

// proposed is an entry as member 2 forwards it.
func proposed(origin uint64, kind machine.Kind, payload []byte) *raftpb.Entry {
	data := machine.AppendCommand(machine.Header{Time: kv.ClusterTime(1), Origin: origin, Batch: 9}.Append(nil), kind, payload)
	return &raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Data: data}
}

// changeOf is an entry with a configuration change for one command, which carries another command.
func changeOf(asked, carried membership.Command) *raftpb.Entry {
	change := machine.NewChange(&asked)
	change.Context = proposed(2, machine.KindMembership, carried.Append(nil)).Data
	data, err := proto.Marshal(change)
	if err != nil {
		panic(err)
	}
	return &raftpb.Entry{Type: raftpb.EntryConfChangeV2.Enum(), Data: data}
}

var (
	removal  = membership.Command{Kind: membership.KindRemove, ID: 3}
	addition = membership.Command{Kind: membership.KindAdd, ID: 4, PeerURLs: []string{"http://4"}}
)

// goodMessages are messages that correct members send to member 1.
func goodMessages() map[string]*raftpb.Message {
	compaction := machine.AppendCompact(nil, 1)
	return map[string]*raftpb.Message{
		"heartbeat":                    message(raftpb.MsgHeartbeat, commit(1)),
		"heartbeat of an added member": message(raftpb.MsgHeartbeat, from(9), commit(1)),
		"vote":                         message(raftpb.MsgVote, term(4), index(2), logTerm(3)),
		"pre-vote of an added member":  message(raftpb.MsgPreVote, from(9), term(4), index(2), logTerm(3)),
		"response to an append":        message(raftpb.MsgAppResp, index(2)),
		"proposal":                     message(raftpb.MsgProp, entries(proposed(2, machine.KindAutoCompact, compaction))),
		"removal":                      message(raftpb.MsgProp, entries(changeOf(removal, removal))),
		"addition":                     message(raftpb.MsgProp, entries(changeOf(addition, addition))),
		"question for the index":       message(raftpb.MsgReadIndex, entries(&raftpb.Entry{Data: make([]byte, 8)})),
		"snapshot":                     message(raftpb.MsgSnap, snapshotOf(50, 3, 1, 2, 3)),
		"order to campaign":            message(raftpb.MsgTimeoutNow),
	}
}

// badMessages are messages that no correct member sends to member 1.
func badMessages() map[string]*raftpb.Message {
	compaction := machine.AppendCompact(nil, 1)
	entry := func(index, term uint64) *raftpb.Entry {
		return &raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Index: &index, Term: &term}
	}
	return map[string]*raftpb.Message{
		"heartbeat with commit 2^50":               message(raftpb.MsgHeartbeat, commit(1<<50)),
		"the same of an unknown member":            message(raftpb.MsgHeartbeat, from(9), commit(1<<50)),
		"heartbeat of term 2^64-1":                 message(raftpb.MsgHeartbeat, term(1<<64-1)),
		"heartbeat of no term":                     message(raftpb.MsgHeartbeat, term(0)),
		"heartbeat of this member":                 message(raftpb.MsgHeartbeat, from(1)),
		"heartbeat of a thread of raft":            message(raftpb.MsgHeartbeat, from(1<<64-1)),
		"heartbeat without a sender":               message(raftpb.MsgHeartbeat, from(0)),
		"heartbeat for another member":             message(raftpb.MsgHeartbeat, to(3)),
		"local type":                               message(raftpb.MsgHup),
		"report of a snapshot":                     message(raftpb.MsgSnapStatus),
		"storage response":                         message(raftpb.MsgStorageAppendResp, index(1<<40)),
		"type that is none":                        message(raftpb.MessageType(99)),
		"order to campaign of an outsider":         message(raftpb.MsgTimeoutNow, from(9)),
		"order to campaign of a follower":          message(raftpb.MsgTimeoutNow, from(3)),
		"response from beyond the log":             message(raftpb.MsgAppResp, index(1<<50)),
		"question without a body":                  message(raftpb.MsgReadIndex),
		"entries with a gap":                       message(raftpb.MsgApp, index(2), logTerm(3), entries(entry(4, 3))),
		"entries of a later term":                  message(raftpb.MsgApp, index(2), logTerm(3), entries(entry(3, 4))),
		"entries with decreasing terms":            message(raftpb.MsgApp, index(2), logTerm(3), entries(entry(3, 3), entry(4, 2))),
		"snapshot without voters":                  message(raftpb.MsgSnap, snapshotOf(50, 3)),
		"snapshot with a voter twice":              message(raftpb.MsgSnap, snapshotOf(50, 3, 1, 1)),
		"snapshot at entry 0":                      message(raftpb.MsgSnap, snapshotOf(0, 3, 1, 2, 3)),
		"proposal of an outsider":                  message(raftpb.MsgProp, from(9), entries(proposed(9, machine.KindAutoCompact, compaction))),
		"proposal without entries":                 message(raftpb.MsgProp),
		"proposal of garbage":                      message(raftpb.MsgProp, entries(&raftpb.Entry{Data: []byte("garbage")})),
		"proposal in another member's name":        message(raftpb.MsgProp, entries(proposed(3, machine.KindAutoCompact, compaction))),
		"proposal of an unknown kind":              message(raftpb.MsgProp, entries(proposed(2, 77, nil))),
		"garbage configuration change":             message(raftpb.MsgProp, entries(&raftpb.Entry{Type: raftpb.EntryConfChangeV2.Enum(), Data: []byte{8}})),
		"configuration change of the old":          message(raftpb.MsgProp, entries(&raftpb.Entry{Type: raftpb.EntryConfChange.Enum()})),
		"configuration change for another command": message(raftpb.MsgProp, entries(changeOf(removal, addition))),
		"change of members without a change":       message(raftpb.MsgProp, entries(proposed(2, machine.KindMembership, removal.Append(nil)))),
	}
}

// TestCheckMessage shows that messages that no correct member sends are refused, and no others.
func TestCheckMessage(t *testing.T) {
	n, err := openNode(1, followedDisk(t))
	must(t, err)
	defer func() { must(t, n.close()) }()
	follow(t, n)
	for name, m := range badMessages() {
		if err := n.r.CheckMessage(m); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%s: error %v, want %v", name, err, ErrBadMessage)
		}
	}
	for name, m := range goodMessages() {
		if err := n.r.CheckMessage(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzPeerMessage: no message of a peer makes a replica panic or fail: it is refused or accepted.
func FuzzPeerMessage(f *testing.F) {
	for _, list := range []map[string]*raftpb.Message{goodMessages(), badMessages()} {
		for _, m := range list {
			data, err := proto.Marshal(m)
			must(f, err)
			f.Add(data)
		}
	}
	disk := followedDisk(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := new(raftpb.Message)
		if proto.Unmarshal(data, m) != nil || m.GetType() == raftpb.MsgSnap {
			return // snapshots arrive with their stream, see ReceiveSnapshot
		}
		n, err := openNode(1, disk.Crash(100, rand.New(rand.NewPCG(1, 1))))
		must(t, err)
		defer func() { must(t, n.close()) }()
		follow(t, n)
		if err := n.r.CheckMessage(m); err != nil {
			if !errors.Is(err, ErrBadMessage) {
				t.Fatal(err)
			}
			return
		}
		must(t, n.r.Step(0, m))
		// The contents of a leader's entries are checked when they are applied.
		if _, err := n.run(); err != nil && !errors.Is(err, machine.ErrBadCommand) {
			t.Fatal(err)
		}
	})
}
