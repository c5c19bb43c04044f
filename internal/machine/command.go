package machine

import (
	"encoding/binary"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// Kind is the kind of a command. The values are stored; never renumber them.
type Kind byte

// The kinds of commands.
const (
	KindPut     Kind = 1
	KindDelete  Kind = 2
	KindTxn     Kind = 3
	KindCompact Kind = 4
	KindV2      Kind = 5
	// KindMembership carries a membership.Command.
	KindMembership Kind = 6
	// KindLease carries a lease.Command.
	KindLease Kind = 7
	// KindAuth carries an auth.Command.
	KindAuth Kind = 8
	// KindAs carries an actor and another command, which is applied with the actor's permissions.
	// See AppendAs.
	KindAs Kind = 9
	// KindAutoCompact is a compaction that the cluster starts itself, not for a client.
	KindAutoCompact Kind = 10
	// KindAlarm carries an alarm.Command.
	KindAlarm Kind = 11
	// KindMigrate carries a migration.Command.
	KindMigrate Kind = 12
)

// entryVersion is the first byte of an entry's data.
const entryVersion = 1

// Header is the start of an entry: the fields that all its commands share.
type Header struct {
	// Time is the cluster time at which the leader packed the entry.
	Time kv.ClusterTime
	// Origin is the ID of the member that proposed the entry, and Batch that member's number for
	// it: only that member has clients waiting for the results.
	Origin uint64
	Batch  uint64
}

// Append appends the header; the commands follow, each by AppendCommand.
func (h Header) Append(dst []byte) []byte {
	dst = append(dst, entryVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Time))
	dst = binary.BigEndian.AppendUint64(dst, h.Origin)
	return binary.AppendUvarint(dst, h.Batch)
}

// Restamp replaces the cluster time in an entry's data: a member that forwards a proposal to the
// leader does not know the leader's time. Data that is not an entry's stays unchanged.
func Restamp(data []byte, time kv.ClusterTime) {
	if len(data) >= 9 && data[0] == entryVersion {
		binary.BigEndian.PutUint64(data[1:], uint64(time))
	}
}

// AppendCommand appends a command behind a header or another command.
func AppendCommand(dst []byte, kind Kind, payload []byte) []byte {
	return codec.AppendBytes(append(dst, byte(kind)), payload)
}

func decodeHeader(d *codec.Reader) (h Header, err error) {
	if v := d.Byte(); v != entryVersion {
		d.Fail("entry of version %d, this cairn reads version %d; a newer cairn has written this log", v, entryVersion)
	}
	h.Time, h.Origin, h.Batch = kv.ClusterTime(d.Uint64()), d.Uint64(), d.Uvarint()
	return h, malformed("header", d.Err())
}

// Flags of puts, deletes and ranges.
const (
	flagPrevKV = 1 << iota
	flagIgnoreValue
	flagIgnoreLease
	flagLease
	flagKeysOnly
	flagCountOnly
)

func flag(set bool, f byte) byte {
	if set {
		return f
	}
	return 0
}

// AppendPut appends a put's payload.
func AppendPut(dst []byte, op *mvcc.PutOp) []byte {
	dst = append(dst, flag(op.PrevKV, flagPrevKV)|flag(op.IgnoreValue, flagIgnoreValue)|
		flag(op.IgnoreLease, flagIgnoreLease)|flag(op.Lease != 0, flagLease))
	if op.Lease != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(op.Lease))
	}
	return codec.AppendBytes(codec.AppendBytes(dst, op.Key), op.Value)
}

func decodePut(d *codec.Reader, op *mvcc.PutOp) {
	flags := d.Byte()
	*op = mvcc.PutOp{
		PrevKV: flags&flagPrevKV != 0, IgnoreValue: flags&flagIgnoreValue != 0, IgnoreLease: flags&flagIgnoreLease != 0,
	}
	if flags&flagLease != 0 {
		op.Lease = kv.LeaseID(d.Uint64())
	}
	op.Key, op.Value = d.Bytes(), d.Bytes()
}

// AppendDelete appends a delete's payload.
func AppendDelete(dst []byte, op *mvcc.DeleteOp) []byte {
	dst = append(dst, flag(op.PrevKV, flagPrevKV))
	return appendRange(dst, op.KeyRange)
}

func decodeDelete(d *codec.Reader, op *mvcc.DeleteOp) {
	flags := d.Byte()
	*op = mvcc.DeleteOp{PrevKV: flags&flagPrevKV != 0, KeyRange: decodeRange(d)}
}

func appendRange(dst []byte, r kv.KeyRange) []byte {
	return codec.AppendBytes(codec.AppendBytes(dst, r.Key), r.End)
}

func decodeRange(d *codec.Reader) kv.KeyRange {
	return kv.KeyRange{Key: d.Bytes(), End: d.Bytes()}
}

// AppendCompact appends a compaction's payload.
func AppendCompact(dst []byte, rev int64) []byte { return binary.AppendVarint(dst, rev) }

// Operations of a transaction.
const (
	opRange  = 1
	opPut    = 2
	opDelete = 3
	opTxn    = 4
)

// AppendTxn appends a transaction's payload.
func AppendTxn(dst []byte, t *mvcc.TxnOp) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t.Compares)))
	for i := range t.Compares {
		c := &t.Compares[i]
		dst = append(dst, byte(c.Target), byte(c.Result))
		dst = codec.AppendBytes(binary.AppendVarint(appendRange(dst, c.KeyRange), c.Number), c.Value)
	}
	return appendOps(appendOps(dst, t.Success), t.Failure)
}

func appendOps(dst []byte, ops []mvcc.Op) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ops)))
	for _, op := range ops {
		switch {
		case op.Range != nil:
			dst = appendRangeOp(append(dst, opRange), op.Range)
		case op.Put != nil:
			dst = AppendPut(append(dst, opPut), op.Put)
		case op.Delete != nil:
			dst = AppendDelete(append(dst, opDelete), op.Delete)
		case op.Txn != nil:
			dst = AppendTxn(append(dst, opTxn), op.Txn)
		}
	}
	return dst
}

func appendRangeOp(dst []byte, r *mvcc.RangeOp) []byte {
	dst = append(dst, flag(r.KeysOnly, flagKeysOnly)|flag(r.CountOnly, flagCountOnly), byte(r.Order), byte(r.Target))
	dst = appendRange(dst, r.KeyRange)
	for _, v := range [...]int64{r.Limit, r.Revision, r.MinMod, r.MaxMod, r.MinCreate, r.MaxCreate} {
		dst = binary.AppendVarint(dst, v)
	}
	return dst
}

func decodeRangeOp(d *codec.Reader) *mvcc.RangeOp {
	flags := d.Byte()
	r := &mvcc.RangeOp{KeysOnly: flags&flagKeysOnly != 0, CountOnly: flags&flagCountOnly != 0}
	r.Order, r.Target = mvcc.SortOrder(d.Byte()), mvcc.SortTarget(d.Byte())
	r.KeyRange = decodeRange(d)
	for _, p := range [...]*int64{&r.Limit, &r.Revision, &r.MinMod, &r.MaxMod, &r.MinCreate, &r.MaxCreate} {
		*p = d.Varint()
	}
	return r
}

// TxnDepthMax is the maximum depth of nested transactions: a transaction in a transaction has depth
// 1. The proposer must refuse deeper ones, since an entry with one counts as malformed.
const TxnDepthMax = 64

func decodeTxn(d *codec.Reader, depth int) *mvcc.TxnOp {
	t := &mvcc.TxnOp{}
	n := d.Count()
	if depth > TxnDepthMax {
		d.Fail("transactions nested more than %d deep", TxnDepthMax)
	}
	for ; n > 0 && d.Err() == nil; n-- {
		c := mvcc.Compare{Target: mvcc.CompareTarget(d.Byte()), Result: mvcc.CompareResult(d.Byte())}
		c.KeyRange = decodeRange(d)
		c.Number, c.Value = d.Varint(), d.Bytes()
		t.Compares = append(t.Compares, c)
	}
	t.Success, t.Failure = decodeOps(d, depth), decodeOps(d, depth)
	return t
}

func decodeOps(d *codec.Reader, depth int) (ops []mvcc.Op) {
	for n := d.Count(); n > 0 && d.Err() == nil; n-- {
		var op mvcc.Op
		switch kind := d.Byte(); kind {
		case opRange:
			op.Range = decodeRangeOp(d)
		case opPut:
			op.Put = &mvcc.PutOp{}
			decodePut(d, op.Put)
		case opDelete:
			op.Delete = &mvcc.DeleteOp{}
			decodeDelete(d, op.Delete)
		case opTxn:
			op.Txn = decodeTxn(d, depth+1)
		default:
			d.Fail("operation of kind %d", kind)
		}
		ops = append(ops, op)
	}
	return ops
}
