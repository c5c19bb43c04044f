package machine

import (
	"errors"
	"fmt"
	"iter"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/codec"
	"cairn/internal/invariant"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// Result is the result of one command: in the field that its kind has, or an error of the package
// that refused it.
type Result struct {
	Err    error
	Put    mvcc.PutResult
	Delete mvcc.DeleteResult
	Txn    mvcc.TxnResult
	V2     *v2tree.Result // set when a v2 command was successful; it is larger than all others
	Lease  lease.Lease
	Auth   auth.Result
	Alarms []alarm.Alarm // that the command has raised or cleared
	// Revision is the store's revision after the command, also after a refused one.
	Revision int64
}

// Applied is the result of one batch. Results and Events are valid until the next Apply.
type Applied struct {
	// Entries is how many of the given entries are applied completely. It is less than were given
	// when the batch has become large: the caller applies the others by calling Apply again. The
	// first of those may be applied in part.
	Entries int
	// Results has the results of the entries that the origin has proposed, in order.
	Results []EntryResults
	// Events yields the changes of keys, EventCount many; Tally counts them by kind.
	Events     iter.Seq[*kv.Event]
	EventCount int
	Tally      mvcc.Tally
	// Changes has the configuration changes that have taken effect, in order, for raft.
	Changes []*raftpb.ConfChangeV2
	// Malformed has the entries and commands that could not be decoded, at most 16 of a batch. The
	// caller logs them.
	Malformed []Malformed
	// Restarted is set when a migration has replaced all keys: watchers that have not received the
	// events before cannot continue.
	Restarted bool
}

// EntryResults has results of one entry. The caller may keep them.
type EntryResults struct {
	Batch    uint64 // of the entry's header
	Commands int    // number of commands in the entry
	// index of the command that Results begins with; above 0 when an earlier batch ended within the
	// entry
	First   int
	Results []Result
}

// batchBytesMax is the size of a batch's events at which the batch ends, if necessary within an
// entry, unless LimitMemory sets another one.
const batchBytesMax = 64 << 20

// LimitMemory sets how many bytes the cache of recently used values, and the changes of a batch,
// may take. It is called before the first entry is applied.
func (m *Machine) LimitMemory(recent int, batch int64) {
	m.w.LimitCache(recent)
	m.batchBytes = batch
}

// resultsKept is the largest capacity of the results slice that is reused for the next batch.
const resultsKept = 8192

// Apply applies committed entries in one batch: all of them, or as many as make a batch of
// its size (see Applied.Entries). It returns the results of commands in entries whose header
// has the given origin; a caller that needs no results passes origin 0. After an error the member
// must stop: the store failed, or this version cannot apply the log.
func (m *Machine) Apply(entries []*raftpb.Entry, origin uint64) (Applied, error) {
	m.next, m.changes, m.malformed = m.pos, nil, nil
	m.forgetResults()
	if err := m.begin(); err != nil {
		return Applied{}, err
	}
	n := 0
	for n < len(entries) && m.w.Bytes() <= m.batchBytes && !m.restarted {
		e := entries[n]
		if e.GetIndex() <= m.installed {
			n++
			continue // the snapshot includes it
		}
		if e.GetIndex() != m.next.index+1 {
			return Applied{}, fmt.Errorf("apply entry %d: want entry %d", e.GetIndex(), m.next.index+1)
		}
		complete, err := m.applyEntry(e, origin)
		if err != nil {
			return Applied{}, fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
		}
		if !complete {
			break
		}
		n++
		m.next.index, m.next.term, m.next.commands = e.GetIndex(), e.GetTerm(), 0
	}
	if err := m.commit(); err != nil {
		return Applied{}, err
	}
	return Applied{
		Entries: n, Results: m.splitResults(), Events: m.w.Events(), EventCount: m.w.EventCount(), Tally: m.w.Tally(), Changes: m.changes,
		Malformed: m.malformed, Restarted: m.restarted,
	}, nil
}

// forgetResults drops the results of the previous batch.
func (m *Machine) forgetResults() {
	clear(m.results)
	m.results, m.entryResults = m.results[:0], m.entryResults[:0]
	if cap(m.results) > resultsKept {
		m.results = nil
	}
}

// splitResults groups the results by entry.
func (m *Machine) splitResults() []EntryResults {
	left := m.results
	for i := range m.entryResults {
		e := &m.entryResults[i]
		n := len(left)
		if i+1 < len(m.entryResults) {
			n = e.Commands - e.First // only the last entry may be incomplete
		}
		e.Results, left = left[:n:n], left[n:]
	}
	return m.entryResults
}

// begin starts a batch.
func (m *Machine) begin() error {
	m.b.Reset()
	m.commands, m.restarted, m.deferring = 0, false, false
	m.leaseChanges, m.leasesReplaced = m.leaseChanges[:0], false
	m.members.Begin()
	m.auth.Begin()
	m.alarms.Begin()
	m.migration.Begin()
	if err := m.w.Begin(m.b); err != nil {
		return fmt.Errorf("begin batch at entry %d: %w", m.next.index+1, err)
	}
	return nil
}

// commit commits the batch, with next as the position, and makes it visible.
func (m *Machine) commit() error {
	if err := m.w.Finish(); err != nil {
		return fmt.Errorf("finish batch at entry %d: %w", m.next.index, err)
	}
	m.next.revision, m.next.compact = m.w.Revision(), m.w.CompactRevision()
	m.next.checkFollows(m.pos)
	m.buf = m.next.append(m.buf[:0])
	m.b.Set(positionKey, m.buf)
	if m.restarted {
		defer m.keys.BeginReplace().Done()
	}
	leasesReadable := m.changeLeases(m.leaseChanges, m.leasesReplaced)
	defer leasesReadable()
	if err := m.b.Commit(false); err != nil {
		m.w.Fail()
		return fmt.Errorf("commit batch at entry %d: %w", m.next.index, err)
	}
	m.pos = m.next
	m.alarms.Publish()
	m.migration.Publish()
	m.auth.Publish() // before the keys: a reader of the keys must see the changed permissions
	m.w.Publish()
	m.members.Publish()
	m.showApplied(len(m.changes) > 0)
	return nil
}

// applyEntry applies the commands of an entry that are not applied yet, and reports whether it has
// applied all of them. It stops earlier when the batch has become large.
func (m *Machine) applyEntry(e *raftpb.Entry, origin uint64) (complete bool, err error) {
	h, d, n, change, err := openEntry(e)
	if err != nil {
		m.refuseMalformed(e.GetIndex(), err)
		return true, nil
	}
	m.next.time = max(m.next.time, h.Time)
	m.entryTerm = e.GetTerm()
	wanted := origin != 0 && h.Origin == origin && n > 0
	if wanted {
		m.entryResults = append(m.entryResults, EntryResults{Batch: h.Batch, Commands: n, First: int(m.next.commands)})
	}
	var unwanted Result
	for i := range n {
		kind, payload := Kind(d.Byte()), d.Bytes()
		if uint64(i) < m.next.commands {
			continue // applied before a restart, or in an earlier batch
		}
		if m.w.Bytes() > m.batchBytes || m.restarted || m.commands > 0 && startsAlone(kind, payload) || m.deferring && removesHistory(kind, payload) {
			return false, nil
		}
		m.commands++
		res := &unwanted
		m.resultWanted = wanted
		if wanted {
			m.results = append(m.results, Result{})
			res = &m.results[len(m.results)-1]
		}
		if err := m.applyCommand(kind, payload, m.next.time, change, res); err != nil {
			return false, err
		}
		if res.Err != nil && errors.Is(res.Err, ErrBadCommand) {
			m.refuseMalformed(e.GetIndex(), res.Err)
		}
		res.Revision = m.w.Revision()
		m.next.commands++
	}
	return true, nil
}

// applyCommand runs one command. A refusal goes into the result; an error that is returned stops
// the member. change is the configuration change that carries the command, nil for commands of an
// ordinary entry.
func (m *Machine) applyCommand(kind Kind, payload []byte, now kv.ClusterTime, change *raftpb.ConfChangeV2, res *Result) error {
	actor, err := unwrapActor(&kind, &payload)
	if err != nil {
		return refuse(err, res)
	}
	subject, err := m.admit(kind, actor)
	if err != nil {
		return refuse(err, res)
	}
	d := codec.NewReader(payload)
	if removesHistory(kind, nil) {
		m.deferred.Wait()
	}
	if kind == KindCompact || kind == KindAutoCompact {
		return refuse(m.compact(kind, &d, subject), res)
	}
	if kind == KindMigrate {
		m.leasesReplaced = true
		return refuse(m.migrate(&d, subject), res)
	}
	m.w.Start()
	if kind == KindMembership {
		err = m.changeMembers(&d, change, subject)
	} else {
		err = m.change(kind, &d, now, subject, res)
	}
	if err == nil {
		return m.w.End()
	}
	m.w.Abort()
	return refuse(err, res)
}

// compact runs a compaction, which is outside the writer's Start and End.
func (m *Machine) compact(kind Kind, d *codec.Reader, subject *auth.Subject) error {
	rev := d.Varint()
	if err := malformed("compaction", d.End()); err != nil {
		return err
	}
	if kind == KindCompact {
		if err := needRoot(subject); err != nil {
			return err
		}
	}
	if err := m.mayChange(); err != nil {
		return err
	}
	return m.w.Compact(rev)
}

// change runs a command that writes keys, leases, or users and roles, if the subject may.
func (m *Machine) change(kind Kind, d *codec.Reader, now kv.ClusterTime, subject *auth.Subject, res *Result) (err error) {
	switch kind {
	case KindPut:
		var op mvcc.PutOp
		if decodePut(d, &op); d.End() != nil {
			return malformed("put", d.Err())
		}
		res.Put, err = m.put(&op, subject)
	case KindDelete:
		var op mvcc.DeleteOp
		if decodeDelete(d, &op); d.End() != nil {
			return malformed("delete", d.Err())
		}
		res.Delete, err = m.delete(&op, subject)
	case KindTxn:
		t := decodeTxn(d, 0)
		if err := d.End(); err != nil {
			return malformed("transaction", err)
		}
		res.Txn, err = m.txn(t, subject)
	case KindV2:
		c := &m.v2Command
		if *c, err = v2tree.Decode(d.Rest()); err != nil {
			return malformed("v2", err)
		}
		if err = m.checkV2Alarms(c); err == nil {
			var v2 v2tree.Result
			if v2, err = m.applyV2(now, c, subject); err == nil {
				res.V2 = &v2
			}
		}
		m.v2.count(c.Kind, err)
	case KindAuth:
		var c auth.Command
		if c, err = auth.Decode(d.Rest()); err != nil {
			return malformed("auth", err)
		}
		// a member proposes KindLogin itself, after checking a password
		if c.Kind != auth.KindLogin {
			if err = needRoot(subject); err == nil {
				err = m.migration.Next().MayChange()
			}
		}
		if err == nil {
			res.Auth, err = m.auth.Apply(m.b, now, &c)
			invariant.Check(!m.w.Changed(), "a command of kind %d on users and roles has changed keys", c.Kind)
		}
	case KindLease:
		var c lease.Command
		if c, err = lease.Decode(d.Rest()); err != nil {
			return malformed("lease", err)
		}
		if err = m.checkLeaseAlarms(&c); err == nil {
			res.Lease, err = m.applyLease(now, &c, subject)
		}
	case KindAlarm:
		var c alarm.Command
		if c, err = alarm.Decode(d.Rest()); err != nil {
			return malformed("alarm", err)
		}
		res.Alarms, err = m.applyAlarm(&c, subject)
	default:
		return unknownKind(kind)
	}
	return err
}

// put runs a put, if the subject may.
func (m *Machine) put(op *mvcc.PutOp, subject *auth.Subject) (res mvcc.PutResult, err error) {
	if err = m.mayAdd(); err != nil {
		return res, err
	}
	if err = PermitPut(subject, op); err != nil {
		return res, err
	}
	if err = m.permitLease(subject, op.Lease); err != nil {
		return res, err
	}
	return m.w.Put(op)
}

// delete runs a delete, if the subject may.
func (m *Machine) delete(op *mvcc.DeleteOp, subject *auth.Subject) (res mvcc.DeleteResult, err error) {
	if err = m.mayChange(); err != nil {
		return res, err
	}
	if err = PermitDelete(subject, op); err != nil {
		return res, err
	}
	return m.w.Delete(op)
}

// txn runs a transaction, if the subject may run each part of it.
func (m *Machine) txn(t *mvcc.TxnOp, subject *auth.Subject) (res mvcc.TxnResult, err error) {
	if err = m.checkTxnAlarms(t); err != nil {
		return res, err
	}
	if err = PermitTxn(subject, t); err != nil {
		return res, err
	}
	if err = m.permitLeases(subject, t); err != nil {
		return res, err
	}
	switch {
	case !m.resultWanted:
		return res, m.w.TxnWithoutKeys(t)
	case m.deferAbove == 0:
		return m.w.Txn(t)
	}
	res, err = m.w.TxnDeferring(t, m.deferAbove)
	m.deferring = m.deferring || err == nil && res.Deferred()
	return res, err
}
