package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/auth"
	"cairn/internal/codec"
	"cairn/internal/machine"
	"cairn/internal/replica"
	"cairn/internal/storage"
)

// bug is a fault that can be planted, to prove that runs detect it. The production code has none of
// them: they are in the simulator's calls of it.
type bug int

const (
	noBug bug = iota
	bugEarlyAck
	bugLateIndex
	bugStaleRevoke
	bugStaleRead
	bugLostEvent
	bugEagerProgress
	bugGreedyCompaction
	bugNoAuthAtApply
	bugTruncatedTail
	bugOldMembers
	bugGuestWrites
	bugShowAll
	bugEmptyChunk
	bugStaleRecord
	bugUnconfirmedRenewal
	bugLateExtension
	bugStaleEnd
	bugFarDeadlines // TestExtendedLeaseEnds plants it: it only makes leases late
)

// bugs are the bugs that can be planted, by name.
var bugs = map[string]bug{
	"acknowledged before the fsync":          bugEarlyAck,
	"applied index outside of the batch":     bugLateIndex,
	"lease revoked by a stale leader":        bugStaleRevoke,
	"stale read after a leader change":       bugStaleRead,
	"watch event lost when a buffer fills":   bugLostEvent,
	"progress ahead of events":               bugEagerProgress,
	"compaction that drops a needed version": bugGreedyCompaction,
	"permissions not checked at apply":       bugNoAuthAtApply,
	"truncated log tail accepted":            bugTruncatedTail,
	"snapshot applied without its members":   bugOldMembers,
	"guest let through at apply":             bugGuestWrites,
	"directory shown without a look":         bugShowAll,
	"chunk emptied by a snapshot":            bugEmptyChunk,
	"newest version that is out of date":     bugStaleRecord,
	"lease renewed by a stale leader":        bugUnconfirmedRenewal,
	"lease extended after the answer":        bugLateExtension,
	"renewed lease ended by a stale leader":  bugStaleEnd,
}

// Bugs returns the names of the bugs that can be planted.
func Bugs() (names []string) {
	for name := range bugs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// spoilState changes the state as a bug would have after a batch.
func (m *member) spoilState() error {
	switch m.w.bug {
	case bugLateIndex:
		return m.spoilIndex()
	case bugGreedyCompaction:
		return m.spoilHistory()
	case bugStaleRecord:
		return m.spoilRecord()
	default:
		return nil
	}
}

// spoilRecord replaces the newest version of a key by the one before, as if the writer's cache of
// versions and the table of them differed: what a put replaces is no longer what a read returns.
func (m *member) spoilRecord() error {
	it := m.state.NewIter([]byte{byte(storage.TableCurrent)}, []byte{byte(storage.TableCurrent) + 1})
	var key, value []byte
	if it.First() {
		key, value = slices.Clone(it.Key()), slices.Clone(it.Value())
	}
	if err := it.Close(); err != nil {
		return err
	}
	before := m.record
	m.record = [2][]byte{key, value}
	if before[0] == nil || !bytes.Equal(before[0], key) || bytes.Equal(before[1], value) {
		return nil
	}
	m.record = before
	b := m.state.NewBatch()
	b.Set(before[0], before[1])
	return errors.Join(b.Commit(false), b.Close())
}

// spoilHistory removes events after the last compaction, which reads still need.
func (m *member) spoilHistory() error {
	compacted := m.machine.Keys().Head().CompactRevision
	if compacted <= m.spoiled {
		return nil
	}
	m.spoiled = compacted
	event := func(rev int64) []byte {
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte{byte(storage.TableRevisions)}, uint64(rev)), 0)
	}
	b := m.state.NewBatch()
	if err := b.DeleteRange(event(compacted), event(compacted+3)); err != nil {
		return err
	}
	if err := b.Commit(false); err != nil {
		return err
	}
	return b.Close()
}

// append executes appends as package member does. With the bug that acknowledgements precede the
// fsync, the log does not see that a response waits for it.
func (m *member) append(msgs []*raftpb.Message) (responses []*raftpb.Message, err error) {
	if m.w.bug == bugEarlyAck {
		var silent []*raftpb.Message
		for _, msg := range msgs {
			silent = append(silent, &raftpb.Message{
				Type: msg.Type, Entries: msg.Entries, Term: msg.Term, Vote: msg.Vote, Commit: msg.Commit, Snapshot: msg.Snapshot,
			})
			responses = append(responses, msg.GetResponses()...)
		}
		msgs = silent
	}
	for len(msgs) > 0 {
		due, left, err := m.r.Append(msgs)
		if err != nil {
			return responses, err
		}
		responses, msgs = append(responses, due...), left
		if len(left) == 0 {
			break
		}
		if due, err = m.r.Install(left[0]); err != nil {
			return responses, err
		}
		m.installed()
		responses, msgs = append(responses, due...), left[1:]
	}
	return responses, nil
}

// apply applies the entries of messages in as many batches as necessary. With the bug that
// permissions are not checked when a command is applied, each user counts as root at that point,
// whatever has changed since the proposing member checked.
func (m *member) apply(msgs []*raftpb.Message) (all replica.Applied, err error) {
	if m.w.bug != bugNoAuthAtApply && m.w.bug != bugGuestWrites {
		return m.applyBatches(msgs)
	}
	for _, msg := range msgs {
		for _, e := range msg.Entries {
			revision := m.machine.Auth().State().Revision
			one := &raftpb.Message{Entries: []*raftpb.Entry{{
				Type: e.Type, Term: e.Term, Index: e.Index, Data: asRoot(e.Data, revision, m.w.bug == bugGuestWrites),
			}}}
			done, err := m.applyBatches([]*raftpb.Message{one})
			if err != nil {
				return all, err
			}
			all.Index, all.Changes = done.Index, append(all.Changes, done.Changes...)
		}
		all.Responses = append(all.Responses, msg.GetResponses()...)
	}
	return all, nil
}

// applyBatches applies messages, and completes the requests that wait for them.
func (m *member) applyBatches(msgs []*raftpb.Message) (all replica.Applied, err error) {
	for more := true; more; msgs = nil {
		batch, done, err := m.r.Apply(msgs)
		if err != nil {
			return all, err
		}
		m.take(&batch)
		all.Index, all.Changes, all.Responses = max(all.Index, done.Index), append(all.Changes, done.Changes...), done.Responses
		more = done.More
	}
	return all, nil
}

// asRoot rewrites the commands of an entry that a user has proposed: see docs/formats/entry.md.
// With guests set, it changes only the commands of guests.
func asRoot(data []byte, revision uint64, guests bool) []byte {
	if len(data) == 0 || data[0] != 1 {
		return data
	}
	r := codec.NewReader(data)
	_, _, _, _ = r.Byte(), r.Uint64(), r.Uint64(), r.Uvarint()
	out := slices.Clone(data[:len(data)-r.Len()])
	for r.Len() > 0 {
		kind, payload := machine.Kind(r.Byte()), r.Bytes()
		if kind == machine.KindAs {
			if a, rest, err := auth.DecodeActor(payload); err == nil && (a.Guest || !guests) {
				payload = append((&auth.Actor{Name: "root", Revision: revision}).Append(nil), rest...)
			}
		}
		out = machine.AppendCommand(out, kind, payload)
	}
	return out
}

// spoilLog removes the last entries of a log, as if a synced record had been treated as torn.
func (m *member) spoilLog(image storage.CrashableFS) error {
	if m.w.bug != bugTruncatedTail {
		return nil
	}
	o := m.options()
	o.FS = image
	log, err := storage.OpenLog("log", o)
	if err != nil {
		return err
	}
	it := log.NewIter([]byte{'e'}, []byte{'f'})
	var keys [][]byte
	for ok := it.First(); ok; ok = it.Next() {
		keys = append(keys, slices.Clone(it.Key()))
	}
	err = it.Close()
	b := log.NewBatch()
	for _, key := range keys[max(0, len(keys)-3):] {
		if binary.BigEndian.Uint64(key[1:]) > m.appliedAtFlush {
			b.Delete(key)
		}
	}
	return errors.Join(err, b.Commit(true), b.Close(), log.Close())
}
