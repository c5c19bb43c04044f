package machine

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// Result answers one command: in the member that its kind has, or with an error
// of the package that refused it.
type Result struct {
	Err    error
	Put    mvcc.PutResult
	Delete mvcc.DeleteResult
	Txn    mvcc.TxnResult
	V2     v2tree.Result
	Lease  lease.Lease
	Auth   auth.Result
	Alarms []alarm.Alarm // what the command has raised or lifted
	// Revision is the store's after the command, also after a refused one.
	Revision int64
	// Done says that the command has been applied.
	Done bool
}

// Waiting takes the results of commands.
type Waiting interface {
	// Results returns where the n results of an entry are to be put, or nil when
	// nobody waits for them.
	Results(h Header, n int) []*Result
	// Applied is called after a batch has become visible, before the next is begun: the
	// results with Done set are valid, and Events has the batch's events.
	Applied()
}

// batchBytesMax is how much the events of a batch may take before the batch is ended,
// be it within an entry.
const batchBytesMax = 64 << 20

// Apply applies committed entries, in one batch or, where they change very much, in
// several, and gives results to those who wait. An error means that the member cannot go
// on: the store failed, or the log holds what this cairn does not understand.
func (m *Machine) Apply(entries []*raftpb.Entry, waiting Waiting) error {
	m.next, m.changes = m.pos, nil
	if err := m.begin(); err != nil {
		return err
	}
	for _, e := range entries {
		if e.GetIndex() <= m.installed {
			continue // in the snapshot
		}
		if e.GetIndex() != m.next.index+1 {
			return fmt.Errorf("%w: entry %d after entry %d", ErrBadCommand, e.GetIndex(), m.next.index)
		}
		if err := m.applyEntry(e, waiting); err != nil {
			return fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
		}
		m.next.index, m.next.term, m.next.commands = e.GetIndex(), e.GetTerm(), 0
	}
	return m.commit(waiting)
}

// begin starts a batch.
func (m *Machine) begin() error {
	m.b.Reset()
	m.members.Begin()
	m.auth.Begin()
	m.alarms.Begin()
	if err := m.w.Begin(m.b); err != nil {
		return fmt.Errorf("begin batch at entry %d: %w", m.next.index+1, err)
	}
	return nil
}

// commit ends the batch at next and makes it visible.
func (m *Machine) commit(waiting Waiting) error {
	if err := m.w.Finish(); err != nil {
		return fmt.Errorf("finish batch at entry %d: %w", m.next.index, err)
	}
	m.next.revision, m.next.compact = m.w.Revision(), m.w.CompactRevision()
	m.buf = m.next.append(m.buf[:0])
	m.b.Set(positionKey, m.buf)
	if err := m.b.Commit(false); err != nil {
		return fmt.Errorf("commit batch at entry %d: %w", m.next.index, err)
	}
	m.pos = m.next
	m.alarms.Publish()
	m.auth.Publish() // before the keys: whoever reads them sees that permissions have changed
	m.w.Publish()
	m.members.Publish()
	m.showApplied(len(m.changes) > 0)
	waiting.Applied()
	return nil
}

func (m *Machine) applyEntry(e *raftpb.Entry, waiting Waiting) error {
	data := e.Data
	var change *raftpb.ConfChangeV2
	if e.GetType() != raftpb.EntryNormal {
		var err error
		if change, err = decodeChange(e); err != nil {
			return err
		}
		data = change.GetContext()
	}
	if len(data) == 0 {
		return nil // a new leader's first entry
	}
	d := codec.NewReader(data)
	h, err := decodeHeader(&d)
	if err != nil {
		return err
	}
	m.next.time = max(m.next.time, h.Time)
	n, err := countCommands(d)
	if err != nil {
		return err
	}
	results := waiting.Results(h, n)
	var unheard Result
	for i := range n {
		res := &unheard
		if results != nil {
			res = results[i]
		}
		kind, payload := Kind(d.Byte()), d.Bytes()
		if uint64(i) < m.next.commands {
			continue // in an earlier life, or an earlier batch
		}
		if err := m.applyCommand(kind, payload, m.next.time, change, res); err != nil {
			return err
		}
		res.Revision, res.Done = m.w.Revision(), true
		m.next.commands++
		if m.w.Bytes() > batchBytesMax {
			if err := errors.Join(m.commit(waiting), m.begin()); err != nil {
				return err
			}
		}
	}
	return nil
}

// countCommands returns how many commands are left to read.
func countCommands(d codec.Reader) (n int, err error) {
	for ; d.Len() > 0; n++ {
		d.Byte()
		d.Bytes()
	}
	return n, damaged("command", d.Err())
}

// applyCommand runs one command. What the command's client did wrong goes into
// the result; an error that is returned stops the member.
// change is the configuration change that carries the command, nil for those of an ordinary entry.
func (m *Machine) applyCommand(kind Kind, payload []byte, now kv.ClusterTime, change *raftpb.ConfChangeV2, res *Result) error {
	actor, err := openAs(&kind, &payload)
	if err != nil {
		return err
	}
	who, err := m.admit(kind, actor)
	if err != nil {
		return m.settle(err, res)
	}
	d := codec.NewReader(payload)
	if kind == KindCompact || kind == KindAutoCompact {
		rev := d.Varint()
		if err := damaged("compaction", d.Err()); err != nil {
			return err
		}
		if kind == KindCompact {
			err = needRoot(who)
		}
		if err == nil {
			err = m.alarms.Next().MayChange()
		}
		if err == nil {
			err = m.w.Compact(rev)
		}
		return m.settle(err, res)
	}
	m.w.Start()
	if kind == KindMembership {
		err = m.changeMembers(&d, change, who)
	} else {
		err = m.change(kind, &d, now, who, res)
	}
	if err == nil {
		return m.w.End()
	}
	m.w.Abort()
	return m.settle(err, res)
}

// change runs a command that writes keys, leases, or users and roles, if who may.
func (m *Machine) change(kind Kind, d *codec.Reader, now kv.ClusterTime, who *auth.Subject, res *Result) (err error) {
	switch kind {
	case KindPut:
		var op mvcc.PutOp
		if decodePut(d, &op); d.Err() != nil {
			return damaged("put", d.Err())
		}
		if err := errors.Join(m.alarms.Next().MayAdd(), PermitPut(who, &op), m.permitLease(who, op.Lease)); err != nil {
			return err
		}
		res.Put, err = m.w.Put(&op)
	case KindDelete:
		var op mvcc.DeleteOp
		if decodeDelete(d, &op); d.Err() != nil {
			return damaged("delete", d.Err())
		}
		if err := m.alarms.Next().MayChange(); err != nil {
			return err
		}
		if err := PermitDelete(who, &op); err != nil {
			return err
		}
		res.Delete, err = m.w.Delete(&op)
	case KindTxn:
		t := decodeTxn(d, 0)
		if err := d.Err(); err != nil {
			return damaged("transaction", err)
		}
		if err := errors.Join(m.mayTxn(t), PermitTxn(who, t), m.permitLeases(who, t)); err != nil {
			return err
		}
		res.Txn, err = m.w.Txn(t)
	case KindV2:
		c := &m.v2Command
		if *c, err = v2tree.Decode(d.Rest()); err != nil {
			return fmt.Errorf("%w: %w", ErrBadCommand, err)
		}
		if err = m.mayV2(c); err == nil {
			res.V2, err = m.applyV2(now, c, who)
		}
		m.v2.count(c.Kind, err)
	case KindAuth:
		var c auth.Command
		if c, err = auth.Decode(d.Rest()); err != nil {
			return fmt.Errorf("%w: %w", ErrBadCommand, err)
		}
		if c.Kind != auth.KindLogin { // that is a member's word, who has checked a password
			err = needRoot(who)
		}
		if err == nil {
			res.Auth, err = m.auth.Apply(m.b, now, &c)
		}
	case KindLease:
		var c lease.Command
		if c, err = lease.Decode(d.Rest()); err != nil {
			return fmt.Errorf("%w: %w", ErrBadCommand, err)
		}
		if err = m.mayLease(&c); err == nil {
			res.Lease, err = m.applyLease(now, &c, who)
		}
	case KindAlarm:
		var c alarm.Command
		if c, err = alarm.Decode(d.Rest()); err != nil {
			return fmt.Errorf("%w: %w", ErrBadCommand, err)
		}
		res.Alarms, err = m.applyAlarm(&c, who)
	default:
		return fmt.Errorf("%w: kind %d, which this cairn does not know", ErrBadCommand, kind)
	}
	return err
}

// settle divides a command's error: a client's goes into the result, a member's
// is returned.
func (m *Machine) settle(err error, res *Result) error {
	var refused *v2tree.Error
	var reason auth.Reason
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused), errors.As(err, &reason), errors.Is(err, mvcc.ErrCompacted), errors.Is(err, mvcc.ErrFutureRevision),
		errors.Is(err, mvcc.ErrKeyNotFound), errors.Is(err, mvcc.ErrLeaseNotFound), errors.Is(err, mvcc.ErrTooLarge), errors.Is(err, lease.ErrExists),
		membership.Refused(err), errors.Is(err, alarm.ErrNoSpace), errors.Is(err, alarm.ErrCorrupt):
		*res = Result{Err: err}
		return nil
	default:
		return err
	}
}
