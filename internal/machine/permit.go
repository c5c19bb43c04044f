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

// AppendAs appends the payload of a KindAs: the actor, then the command.
func AppendAs(dst []byte, a *auth.Actor, kind Kind, payload []byte) []byte {
	return append(append(a.Append(dst), byte(kind)), payload...)
}

// unwrapActor replaces a KindAs by the command in it, and returns its actor; for other commands it
// returns nil.
func unwrapActor(kind *Kind, payload *[]byte) (*auth.Actor, error) {
	if *kind != KindAs {
		return nil, nil
	}
	a, rest, err := auth.DecodeActor(*payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCommand, err)
	}
	if len(rest) == 0 || Kind(rest[0]) == KindAs {
		return nil, fmt.Errorf("%w: actor %q without a command", ErrBadCommand, a.Name)
	}
	*kind, *payload = Kind(rest[0]), rest[1:]
	return &a, nil
}

// unknown is the subject of a command without an actor while authentication is enabled: one that
// was proposed before that, or one of the cluster itself. It has no permissions.
var unknown = new(auth.Subject)

// admit returns the permissions of a command's actor as of this command. A command that was
// authorized against another revision of users and roles is refused, since for example the password
// may have changed; the proposer checks it again and proposes it again.
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
	subject := s.Subject(a)
	if subject == nil {
		return nil, fmt.Errorf("command of kind %d: %w", kind, auth.UserNotFound)
	}
	return subject, nil
}

// denied returns the refusal of a command that the subject has no permission for.
func denied(subject *auth.Subject) error {
	if subject == unknown {
		// authentication was enabled since: the client must authenticate
		return auth.OldRevision
	}
	return auth.Denied
}

func needRoot(subject *auth.Subject) error {
	if !subject.Root() {
		return denied(subject)
	}
	return nil
}

// PermitRange returns auth.Denied when the subject must not read the keys of a range.
func PermitRange(subject *auth.Subject, r kv.KeyRange) error {
	if !subject.CanRead(r) {
		return denied(subject)
	}
	return nil
}

// PermitPut returns auth.Denied when the subject must not put a key, or must not read the previous
// value that it requests.
func PermitPut(subject *auth.Subject, op *mvcc.PutOp) error {
	r := kv.KeyRange{Key: op.Key}
	if !subject.CanWrite(r) || op.PrevKV && !subject.CanRead(r) {
		return denied(subject)
	}
	return nil
}

// PermitDelete is PermitPut for a range.
func PermitDelete(subject *auth.Subject, op *mvcc.DeleteOp) error {
	if !subject.CanWrite(op.KeyRange) || op.PrevKV && !subject.CanRead(op.KeyRange) {
		return denied(subject)
	}
	return nil
}

// PermitTxn returns auth.Denied when the subject lacks a permission for any operation of a
// transaction, executed or not.
func PermitTxn(subject *auth.Subject, t *mvcc.TxnOp) error {
	if subject.Root() {
		return nil
	}
	for i := range t.Compares {
		if err := PermitRange(subject, t.Compares[i].KeyRange); err != nil {
			return err
		}
	}
	for _, ops := range [...][]mvcc.Op{t.Success, t.Failure} {
		for i := range ops {
			if err := permitOp(subject, &ops[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// permitLease returns auth.Denied when a lease has attached keys that the user must not write: a
// key of another user on the lease would keep the first user from revoking it, and would be deleted
// when that user's lease ends.
func (m *Machine) permitLease(subject *auth.Subject, id kv.LeaseID) error {
	if id == 0 || subject.Root() {
		return nil
	}
	reading := m.w.Reading()
	// A lease may have very many keys, so the applier must not examine each of them.
	for from, to := range subject.Unwritable() {
		found, err := lease.HasKey(reading, id, from, to)
		if err != nil {
			return err
		}
		if found {
			return denied(subject)
		}
	}
	return nil
}

// permitLeases is permitLease for all puts of a transaction, whether or not they would run.
func (m *Machine) permitLeases(subject *auth.Subject, t *mvcc.TxnOp) error {
	if subject.Root() {
		return nil
	}
	for _, ops := range [...][]mvcc.Op{t.Success, t.Failure} {
		for i := range ops {
			var err error
			switch op := &ops[i]; {
			case op.Put != nil:
				err = m.permitLease(subject, op.Put.Lease)
			case op.Txn != nil:
				err = m.permitLeases(subject, op.Txn)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func permitOp(subject *auth.Subject, op *mvcc.Op) error {
	switch {
	case op.Range != nil:
		return PermitRange(subject, op.Range.KeyRange)
	case op.Put != nil:
		return PermitPut(subject, op.Put)
	case op.Delete != nil:
		return PermitDelete(subject, op.Delete)
	case op.Txn != nil:
		return PermitTxn(subject, op.Txn)
	default:
		return nil
	}
}

// PermitV2Key reports whether can permits an operation on the node at a path derived by the server.
// For a directory, permission for the path with a slash at its end is enough: a user may be allowed
// the keys below a directory but not the directory itself.
func PermitV2Key(can func(kv.KeyRange) bool, path []byte, dir bool) bool {
	return can(kv.KeyRange{Key: path}) || dir && can(kv.KeyRange{Key: append(append([]byte(nil), path...), '/')})
}

// applyV2 applies a command of v2 and then checks its changes: keys inside a directory, or hidden
// by one, may be v3's, and are deleted only if the actor may write each of them. An expiry is the
// cluster's own command and is not checked.
func (m *Machine) applyV2(now kv.ClusterTime, c *v2tree.Command, subject *auth.Subject) (v2tree.Result, error) {
	asked := !subject.Root() && c.Kind != v2tree.KindExpire
	if asked && !PermitV2Key(subject.CanWrite, c.Path, true) {
		return v2tree.Result{}, denied(subject)
	}
	res, err := v2tree.Apply(m.w, now, c)
	// An in-order key is new, and only its name is generated below the path: as in etcd, permission
	// for the path is enough.
	if err != nil || !asked || c.Kind == v2tree.KindCreateInOrder {
		return res, err
	}
	for e := range m.w.Changes() {
		// The path itself was permitted as it was sent, with a slash at its end or without. A key
		// that is deleted together with the directory that hides it was not named by the request.
		named := !res.Prev.Dir && bytes.Equal(e.Key, c.Path)
		if !e.Dir && !named && !subject.CanWrite(kv.KeyRange{Key: e.Key}) {
			return v2tree.Result{}, denied(subject)
		}
	}
	return res, nil
}

// applyLease applies a command of a lease. Any user may have leases; revoking one requires write
// permission for its keys. The cluster's own commands are not checked.
func (m *Machine) applyLease(now kv.ClusterTime, c *lease.Command, subject *auth.Subject) (res lease.Lease, err error) {
	own := c.Kind == lease.KindExpire || c.Kind == lease.KindExtend || c.Kind == lease.KindEnd
	if !own && subject == unknown {
		return lease.Lease{}, denied(subject)
	}
	changes := m.leaseChanges
	res, changes, err = lease.Apply(m.w, lease.Position{Time: now, Term: m.entryTerm}, c, changes)
	if err != nil {
		return res, err
	}
	if own || subject.Root() {
		m.leaseChanges = changes
		return res, nil
	}
	for e := range m.w.Changes() {
		if !subject.CanWrite(kv.KeyRange{Key: e.Key}) {
			return lease.Lease{}, denied(subject)
		}
	}
	m.leaseChanges = changes
	return res, nil
}
