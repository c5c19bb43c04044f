package machine

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/migration"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// An entry or command that cannot be decoded is refused like any other wrong request: it changes
// nothing but the position, on every member alike. It must not stop a member, since the member
// would meet it again at each restart. A version of cairn that adds a kind of command must not
// propose it until the cluster version shows that every member supports the kind; see
// docs/formats/entry.md.

// ErrBadCommand is wrapped by the refusals of bytes that no cairn of this version can have
// proposed.
var ErrBadCommand = kv.NewRefusal("bad command")

// Malformed is an entry, or a command in it, that could not be decoded.
type Malformed struct {
	Index uint64 // of the entry
	Err   error  // wraps ErrBadCommand
}

// malformedMax is the maximum number of malformed entries and commands that are reported for one
// batch.
const malformedMax = 16

func (m *Machine) refuseMalformed(index uint64, err error) {
	if len(m.malformed) < malformedMax {
		m.malformed = append(m.malformed, Malformed{Index: index, Err: err})
	}
}

// refuse stores a refusal in the result, and returns every other error: the member has failed.
func refuse(err error, res *Result) error {
	if err == nil || !kv.Refused(err) {
		return err
	}
	*res = Result{Err: err}
	return nil
}

// malformed wraps err with ErrBadCommand and the name of what could not be decoded; nil for nil.
func malformed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrBadCommand, what, err)
}

// openEntry decodes an entry up to its commands, of which n can be read from d. change is the
// configuration change that carries them, or nil. An entry without data has no commands.
func openEntry(e *raftpb.Entry) (h Header, d codec.Reader, n int, change *raftpb.ConfChangeV2, err error) {
	data := e.Data
	if e.GetType() != raftpb.EntryNormal {
		if change, err = decodeChange(e); err != nil {
			return h, d, 0, nil, err
		}
		data = change.GetContext()
	}
	if len(data) == 0 {
		return h, d, 0, change, nil
	}
	d = codec.NewReader(data)
	if h, err = decodeHeader(&d); err != nil {
		return h, d, 0, nil, err
	}
	n, err = countCommands(d)
	return h, d, n, change, err
}

// countCommands returns the number of commands in d.
func countCommands(d codec.Reader) (n int, err error) {
	for ; d.Len() > 0; n++ {
		d.Byte()
		d.Bytes()
	}
	return n, malformed("command", d.Err())
}

// CheckEntry returns an error that wraps ErrBadCommand when an entry, or a command in it, cannot be
// decoded. A leader calls it before it proposes an entry that another member has forwarded.
func CheckEntry(e *raftpb.Entry) error {
	_, d, n, change, err := openEntry(e)
	for ; err == nil && n > 0; n-- {
		kind, payload := Kind(d.Byte()), d.Bytes()
		if _, err = unwrapActor(&kind, &payload); err == nil {
			err = checkPayload(kind, payload, change)
		}
	}
	return err
}

// checkPayload decodes the payload of a command and discards the result.
func checkPayload(kind Kind, payload []byte, change *raftpb.ConfChangeV2) (err error) {
	d := codec.NewReader(payload)
	switch kind {
	case KindPut:
		decodePut(&d, &mvcc.PutOp{})
		return malformed("put", d.End())
	case KindDelete:
		decodeDelete(&d, &mvcc.DeleteOp{})
		return malformed("delete", d.End())
	case KindTxn:
		decodeTxn(&d, 0)
		return malformed("transaction", d.End())
	case KindCompact, KindAutoCompact:
		d.Varint()
		return malformed("compaction", d.End())
	case KindV2:
		_, err = v2tree.Decode(payload)
		return malformed("v2", err)
	case KindMembership:
		_, err = decodeMembership(payload, change)
		return err
	case KindLease:
		_, err = lease.Decode(payload)
		return malformed("lease", err)
	case KindAuth:
		_, err = auth.Decode(payload)
		return malformed("auth", err)
	case KindAlarm:
		_, err = alarm.Decode(payload)
		return malformed("alarm", err)
	case KindMigrate:
		_, err = migration.Decode(payload)
		return malformed("migration", err)
	default:
		return unknownKind(kind)
	}
}

func unknownKind(kind Kind) error {
	return fmt.Errorf("%w: kind %d, which this version does not know", ErrBadCommand, kind)
}
