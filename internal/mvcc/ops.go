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
	Limit    int64 // maximum number of keys to return; 0 means no limit
	Revision int64 // the revision to read at; 0 or less means the current one
	Order    SortOrder
	Target   SortTarget

	KeysOnly  bool
	CountOnly bool

	// Bounds of the keys' mod and create revisions; 0 means none.
	MinMod, MaxMod, MinCreate, MaxCreate int64
}

// PutOp writes a key.
type PutOp struct {
	Key, Value  []byte
	Lease       kv.LeaseID
	Deadline    kv.ClusterTime // v2 TTL
	Action      kv.Action      // v2's name for the write
	IgnoreValue bool           // keep the current value
	IgnoreLease bool           // keep the current lease
	PrevKV      bool           // the caller wants the replaced version
	// Recreate makes this write count as the creation of the key, although it is live: v2's set
	// replaces a node instead of changing it.
	Recreate bool
}

// DeleteOp removes the keys of a range.
type DeleteOp struct {
	kv.KeyRange
	Action kv.Action
	PrevKV bool
}

// CompareResult is the required result of a comparison, with the numbers of etcd's Compare.
type CompareResult uint8

// CompareTarget is the field that is compared, with the numbers of etcd's Compare.
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
	Number int64  // the version, revision or lease to compare with
	Value  []byte // the value to compare with
}

// Op is one operation of a transaction: exactly one field is not nil.
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
	Revision int64 // the store's revision at the time of the read, not the revision that was read at
	Keys     []KeyRecord
	More     bool  // Limit excluded some keys
	Count    int64 // number of keys in the range, regardless of limit and bounds

	deferred *RangeOp // reads Keys at its Revision, see Writer.TxnDeferring; nil when they are there
}

// PutResult is the result of a PutOp. Prev is nil when it was not requested, or when the key did
// not exist.
type PutResult struct {
	Revision int64
	Prev     *KeyRecord
}

// DeleteResult is the result of a DeleteOp.
type DeleteResult struct {
	Revision int64
	Deleted  int64
	Prev     []KeyRecord // when requested
}

// OpResult is the result of an Op, in the field of the same name.
type OpResult struct {
	Range  *RangeResult
	Put    *PutResult
	Delete *DeleteResult
	Txn    *TxnResult
}

// TxnResult is the result of a TxnOp.
type TxnResult struct {
	Revision  int64
	Succeeded bool
	Results   []OpResult
}
