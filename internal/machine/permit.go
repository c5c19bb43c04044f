package machine

import (
	"bytes"
	"fmt"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// AppendAs writes the payload of a KindAs: the actor, then the command.
func AppendAs(dst []byte, a *auth.Actor, kind Kind, payload []byte) []byte {
	return append(append(a.Append(dst), byte(kind)), payload...)
}

// openAs takes a KindAs apart; of other commands it returns no actor.
func openAs(kind *Kind, payload *[]byte) (*auth.Actor, error) {
	if *kind != KindAs {
		return nil, nil
	}
	a, rest, err := auth.DecodeActor(*payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCommand, err)
	}
	if len(rest) == 0 || Kind(rest[0]) == KindAs {
		return nil, fmt.Errorf("%w: nothing that %q asks for", ErrBadCommand, a.Name)
	}
	*kind, *payload = Kind(rest[0]), rest[1:]
	return &a, nil
}

// unknown is the subject of a command that comes from nobody while authentication is on: of one
// that was proposed before, or of the cluster itself. It has no permissions.
var unknown = new(auth.Subject)

// admit returns what the actor of a command may do as of this command. A command that was checked
// as of another state of users and roles is refused: its password may be another by now. It is
// proposed again if it still may be.
func (m *Machine) admit(kind Kind, a *auth.Actor) (*auth.Subject, error) {
	s := m.auth.Next()
	switch {
	case a == nil && s.Enabled:
		return unknown, nil
	case a == nil:
		return s.Subject(&auth.Actor{}), nil
	case a.Revision != s.Revision:
		return nil, auth.OldRevision
	}
	who := s.Subject(a)
	if who == nil {
		return nil, fmt.Errorf("command of kind %d: %w", kind, auth.UserNotFound)
	}
	return who, nil
}

// denied returns the refusal of what who may not do.
func denied(who *auth.Subject) error {
	if who == unknown {
		// authentication was turned on meanwhile: the client must authenticate
		return auth.OldRevision
	}
	return auth.Denied
}

func needRoot(who *auth.Subject) error {
	if !who.Root() {
		return denied(who)
	}
	return nil
}

// PermitRange returns auth.Denied when the keys of a range may not be read.
func PermitRange(who *auth.Subject, r kv.KeyRange) error {
	if !who.CanRead(r) {
		return denied(who)
	}
	return nil
}

// PermitPut returns auth.Denied when a key may not be put, or what it was may not be seen.
func PermitPut(who *auth.Subject, op *mvcc.PutOp) error {
	r := kv.KeyRange{Key: op.Key}
	if !who.CanWrite(r) || op.PrevKV && !who.CanRead(r) {
		return denied(who)
	}
	return nil
}

// PermitDelete is PermitPut for a range.
func PermitDelete(who *auth.Subject, op *mvcc.DeleteOp) error {
	if !who.CanWrite(op.KeyRange) || op.PrevKV && !who.CanRead(op.KeyRange) {
		return denied(who)
	}
	return nil
}

// PermitTxn returns auth.Denied when a part of a transaction is not allowed, whether or not it
// would run.
func PermitTxn(who *auth.Subject, t *mvcc.TxnOp) error {
	if who.Root() {
		return nil
	}
	for i := range t.Compares {
		if err := PermitRange(who, t.Compares[i].KeyRange); err != nil {
			return err
		}
	}
	for _, ops := range [...][]mvcc.Op{t.Success, t.Failure} {
		for i := range ops {
			if err := permitOp(who, &ops[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// permitLease returns auth.Denied when a lease has attached keys that the user must not write: a
// key of another user on the lease would keep the first user from revoking it, and would be deleted
// when that user's lease ends.
func (m *Machine) permitLease(who *auth.Subject, id kv.LeaseID) error {
	if id == 0 || who.Root() {
		return nil
	}
	reading := m.w.Reading()
	// A lease may have very many keys, of which nobody is to make the applier look at each.
	for from, to := range who.Unwritable() {
		found, err := lease.HasKey(reading, id, from, to)
		if err != nil {
			return err
		}
		if found {
			return denied(who)
		}
	}
	return nil
}

// permitLeases is permitLease for all puts of a transaction, whether or not they would run.
func (m *Machine) permitLeases(who *auth.Subject, t *mvcc.TxnOp) error {
	if who.Root() {
		return nil
	}
	for _, ops := range [...][]mvcc.Op{t.Success, t.Failure} {
		for i := range ops {
			var err error
			switch op := &ops[i]; {
			case op.Put != nil:
				err = m.permitLease(who, op.Put.Lease)
			case op.Txn != nil:
				err = m.permitLeases(who, op.Txn)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func permitOp(who *auth.Subject, op *mvcc.Op) error {
	switch {
	case op.Range != nil:
		return PermitRange(who, op.Range.KeyRange)
	case op.Put != nil:
		return PermitPut(who, op.Put)
	case op.Delete != nil:
		return PermitDelete(who, op.Delete)
	case op.Txn != nil:
		return PermitTxn(who, op.Txn)
	default:
		return nil
	}
}

// PermitV2Key reports whether v2 may do something with the node at a path that is not as sent: what
// is below a directory may be allowed where the directory itself is not, and then it goes by its
// path with a slash.
func PermitV2Key(can func(kv.KeyRange) bool, path []byte, dir bool) bool {
	return can(kv.KeyRange{Key: path}) || dir && can(kv.KeyRange{Key: append(append([]byte(nil), path...), '/')})
}

// applyV2 applies a command of v2 and then looks at what it has changed: what lies in a directory,
// or is hidden by one, may be v3's, and goes only if the actor may write each of the keys. Expiry
// is the cluster's own.
func (m *Machine) applyV2(now kv.ClusterTime, c *v2tree.Command, who *auth.Subject) (v2tree.Result, error) {
	asked := !who.Root() && c.Kind != v2tree.KindExpire
	if asked && !PermitV2Key(who.CanWrite, c.Path, true) {
		return v2tree.Result{}, denied(who)
	}
	res, err := v2tree.Apply(m.w, now, c)
	// An in-order key is a new one, of which nothing but the name comes from below the path: who
	// may write the path may put into its queue, as in etcd.
	if err != nil || !asked || c.Kind == v2tree.KindCreateInOrder {
		return res, err
	}
	for e := range m.w.Changes() {
		// The path itself was permitted as it was sent, with a slash at its end or without. A key
		// that goes with the directory that hides it was not named by the request.
		named := !res.Prev.Dir && bytes.Equal(e.Key, c.Path)
		if !e.Dir && !named && !who.CanWrite(kv.KeyRange{Key: e.Key}) {
			return v2tree.Result{}, denied(who)
		}
	}
	return res, nil
}

// applyLease applies a command of a lease. Any user may have leases; what goes with one has to be
// its own to delete. Expiry is the cluster's own.
func (m *Machine) applyLease(now kv.ClusterTime, c *lease.Command, who *auth.Subject) (lease.Lease, error) {
	if c.Kind == lease.KindExpire {
		return lease.Apply(m.w, now, c)
	}
	if who == unknown {
		return lease.Lease{}, denied(who)
	}
	res, err := lease.Apply(m.w, now, c)
	if err != nil || who.Root() {
		return res, err
	}
	for e := range m.w.Changes() {
		if !who.CanWrite(kv.KeyRange{Key: e.Key}) {
			return lease.Lease{}, denied(who)
		}
	}
	return res, nil
}
