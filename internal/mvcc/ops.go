package mvcc

import "cairn/internal/kv"

// SortOrder is the order of a range's keys, with the numbers of etcd's RangeRequest.
type SortOrder uint8

// SortTarget is what a range is sorted by, with the numbers of etcd's RangeRequest.
type SortTarget uint8

// The orders.
const (
	SortNone SortOrder = iota
	SortAscend
	SortDescend
)

// The targets.
const (
	SortByKey SortTarget = iota
	SortByVersion
	SortByCreate
	SortByMod
	SortByValue
)

// RangeOp reads keys.
type RangeOp struct {
	kv.KeyRange
	Limit    int64 // most keys to return; 0 is all
	Revision int64 // the revision to read at; 0 or less is the present one
	Order    SortOrder
	Target   SortTarget

	KeysOnly  bool
	CountOnly bool

	// Bounds of the keys' mod and create revisions; 0 is none.
	MinMod, MaxMod, MinCreate, MaxCreate int64
}

// PutOp writes a key.
type PutOp struct {
	Key, Value  []byte
	Lease       kv.LeaseID
	Deadline    kv.ClusterTime // v2 TTL
	Action      kv.Action      // v2's name for the write
	IgnoreValue bool           // keep the present value
	IgnoreLease bool           // keep the present lease
	PrevKV      bool           // the caller wants the replaced version
	// Recreate counts the key as created by this write, although it is live: v2's set
	// replaces a node instead of changing it.
	Recreate bool
}

// DeleteOp removes the keys of a range.
type DeleteOp struct {
	kv.KeyRange
	Action kv.Action
	PrevKV bool
}

// CompareResult is how a comparison must come out, with the numbers of etcd's Compare.
type CompareResult uint8

// CompareTarget is what is compared, with the numbers of etcd's Compare.
type CompareTarget uint8

// The results.
const (
	CompareEqual CompareResult = iota
	CompareGreater
	CompareLess
	CompareNotEqual
)

// The targets of a comparison.
const (
	CompareVersion CompareTarget = iota
	CompareCreate
	CompareMod
	CompareValue
	CompareLease
)

// Compare is a condition on all keys of a range.
type Compare struct {
	kv.KeyRange
	Target CompareTarget
	Result CompareResult
	Number int64  // what version, revision or lease is compared with
	Value  []byte // what the value is compared with
}

// Op is one operation of a transaction: the one that is not nil.
type Op struct {
	Range  *RangeOp
	Put    *PutOp
	Delete *DeleteOp
	Txn    *TxnOp
}

// TxnOp runs Success when all comparisons hold, and Failure otherwise.
type TxnOp struct {
	Compares []Compare
	Success  []Op
	Failure  []Op
}

// ReadOnly reports whether neither branch can change anything.
func (t *TxnOp) ReadOnly() bool { return readOnly(t.Success) && readOnly(t.Failure) }

func readOnly(ops []Op) bool {
	for _, op := range ops {
		if op.Put != nil || op.Delete != nil || op.Txn != nil && !op.Txn.ReadOnly() {
			return false
		}
	}
	return true
}

// Puts reports whether either branch has a put.
func (t *TxnOp) Puts() bool { return puts(t.Success) || puts(t.Failure) }

func puts(ops []Op) bool {
	for _, op := range ops {
		if op.Put != nil || op.Txn != nil && op.Txn.Puts() {
			return true
		}
	}
	return false
}

// KeyRecord is a key with one of its versions.
type KeyRecord struct {
	Key []byte
	kv.Record
}

// RangeResult is what a RangeOp found.
type RangeResult struct {
	Revision int64 // the revision of the store that answered, not of the read
	Keys     []KeyRecord
	More     bool  // Limit left keys out
	Count    int64 // keys in the range, without regard to limit and bounds
}

// PutResult is what a PutOp did. Prev is nil when it was not asked for, or when
// there was no key.
type PutResult struct {
	Revision int64
	Prev     *KeyRecord
}

// DeleteResult is what a DeleteOp did.
type DeleteResult struct {
	Revision int64
	Deleted  int64
	Prev     []KeyRecord // when asked for
}

// OpResult answers an Op, in the member that the Op has.
type OpResult struct {
	Range  *RangeResult
	Put    *PutResult
	Delete *DeleteResult
	Txn    *TxnResult
}

// TxnResult answers a TxnOp.
type TxnResult struct {
	Revision  int64
	Succeeded bool
	Results   []OpResult
}
