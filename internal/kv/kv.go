// Package kv has cairn's basic types: revisions, key ranges, records and events.
//
// It owns the types that every layer shares and no operations on them; mvcc defines how a record is
// stored, v3rpc and v2http how it is sent. It imports the standard library only. All types are
// plain values; none is safe for concurrent modification.
package kv

import (
	"bytes"
	"fmt"
)

// Revision identifies one change of the store. Main is the store-wide revision, which every
// successful write command increments by exactly one, from 2 on for the first write (as in etcd).
// Sub orders the changes inside one command, from 0.
type Revision struct {
	Main int64
	Sub  int64
}

// Less reports whether r comes before s.
func (r Revision) Less(s Revision) bool {
	return r.Main < s.Main || r.Main == s.Main && r.Sub < s.Sub
}

// IsZero reports whether r identifies no change.
func (r Revision) IsZero() bool { return r == Revision{} }

// String returns "main/sub", or "main" when sub is 0.
func (r Revision) String() string {
	if r.Sub == 0 {
		return fmt.Sprintf("%d", r.Main)
	}
	return fmt.Sprintf("%d/%d", r.Main, r.Sub)
}

// LeaseID identifies a lease; 0 means no lease.
type LeaseID int64

// ClusterTime is the replicated clock: nanoseconds during which the cluster had a leader, since it
// was made. It never goes back and does not advance without a leader. 0 in a deadline means that
// there is none.
type ClusterTime int64

// KeyRange is a set of keys: the single key Key when End is nil, and otherwise all keys in [Key,
// End). An End of one zero byte means the end of the key space, as in etcd's
// RangeRequest.range_end.
type KeyRange struct {
	Key []byte
	End []byte
}

// SingleKey reports whether the range contains only Key, by its form.
func (r KeyRange) SingleKey() bool { return len(r.End) == 0 }

// Unbounded reports whether the range has no upper end.
func (r KeyRange) Unbounded() bool { return len(r.End) == 1 && r.End[0] == 0 }

// Empty reports whether the range can contain no key.
func (r KeyRange) Empty() bool {
	return !r.SingleKey() && !r.Unbounded() && bytes.Compare(r.Key, r.End) >= 0
}

// Contains reports whether key is in the range.
func (r KeyRange) Contains(key []byte) bool {
	if r.SingleKey() {
		return bytes.Equal(r.Key, key)
	}
	return bytes.Compare(key, r.Key) >= 0 && (r.Unbounded() || bytes.Compare(key, r.End) < 0)
}

// Record is one version of a key: its state from revision Mod until the next change of the key. A
// Record with Deleted set is a tombstone, of which only Mod is valid.
type Record struct {
	CreateRevision int64       // main revision of the write that created the key
	Mod            Revision    // the change that made this version
	Version        int64       // writes since the creation, 1 for the creation itself
	Lease          LeaseID     // the lease that the key is attached to, or 0
	Deadline       ClusterTime // v2 TTL: when the key expires, or 0
	Deleted        bool
	Value          []byte
}

// EventType is the kind of change of an event.
type EventType uint8

// The types of events. The values are stored; never renumber them.
const (
	EventPut    EventType = 0
	EventDelete EventType = 1
)

// Action is v2's name for a write, stored with its event for v2 watchers. Writes of v3 have
// ActionNone, which v2 shows as set or delete.
type Action uint8

// The actions of the v2 dialect. The values are stored; never renumber them.
const (
	ActionNone Action = iota
	ActionSet
	ActionCreate
	ActionUpdate
	ActionCompareAndSwap
	ActionDelete
	ActionCompareAndDelete
	ActionExpire
	// ActionRefresh is a write that only set a new TTL: v2's
	// watchers do not receive it.
	ActionRefresh
)

// String returns the action as v2 spells it, or "" for ActionNone.
func (a Action) String() string {
	switch a {
	case ActionSet:
		return "set"
	case ActionCreate:
		return "create"
	case ActionUpdate:
		return "update"
	case ActionCompareAndSwap:
		return "compareAndSwap"
	case ActionDelete:
		return "delete"
	case ActionCompareAndDelete:
		return "compareAndDelete"
	case ActionExpire:
		return "expire"
	case ActionRefresh:
		return "refresh"
	default:
		return ""
	}
}

// Event is one change of one key, or, when Dir is set, of one v2 directory, which v3 never sees.
// Prev is the version that the change replaced; its Mod is zero when there was none.
type Event struct {
	Type   EventType
	Action Action
	Dir    bool
	Key    []byte
	Record Record // the version that the change made; a tombstone for a delete
	Prev   Record
	// PrevGone is set when a compaction has dropped Prev's value.
	PrevGone bool
}
