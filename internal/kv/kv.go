// Package kv holds cairn's nouns: revisions, key ranges, records and events.
//
// It owns the vocabulary that every layer shares and nothing that acts on it;
// how a record is stored is decided in mvcc, how it is sent in v3rpc and
// v2http. It imports the standard library only. All types are plain values;
// none is safe for concurrent modification.
package kv

import (
	"bytes"
	"fmt"
)

// Revision names one change of the store. Main is the store-wide revision,
// which every successful write command moves by exactly one, from 2 on for the
// first write (as etcd counts). Sub orders the changes inside one command,
// from 0.
type Revision struct {
	Main int64
	Sub  int64
}

// Less reports whether r comes before s.
func (r Revision) Less(s Revision) bool {
	return r.Main < s.Main || r.Main == s.Main && r.Sub < s.Sub
}

// IsZero reports whether r names no change.
func (r Revision) IsZero() bool { return r == Revision{} }

// String returns "main/sub", or "main" when sub is 0.
func (r Revision) String() string {
	if r.Sub == 0 {
		return fmt.Sprintf("%d", r.Main)
	}
	return fmt.Sprintf("%d/%d", r.Main, r.Sub)
}

// LeaseID names a lease; 0 is no lease.
type LeaseID int64

// ClusterTime is the replicated clock: nanoseconds that leaders have led since
// the cluster was made. It never goes back and stands still while there is no
// leader. 0 in a deadline means that there is none.
type ClusterTime int64

// KeyRange is a set of keys: the single key Key when End is nil, and otherwise
// all keys in [Key, End). An End of one zero byte stands for the end of the
// key space, as in etcd's RangeRequest.range_end.
type KeyRange struct {
	Key []byte
	End []byte
}

// SingleKey reports whether the range can only ever hold Key itself.
func (r KeyRange) SingleKey() bool { return len(r.End) == 0 }

// Unbounded reports whether the range has no upper end.
func (r KeyRange) Unbounded() bool { return len(r.End) == 1 && r.End[0] == 0 }

// Empty reports whether no key can be in the range.
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

// Record is one version of a key: what the key was from revision Mod on, until
// the key's next change. A Record with Deleted set is a tombstone; of the rest
// it has only Mod.
type Record struct {
	CreateRevision int64       // main revision of the write that created the key
	Mod            Revision    // the change that made this version
	Version        int64       // writes since the creation, 1 for the creation itself
	Lease          LeaseID     // the lease that the key is attached to, or 0
	Deadline       ClusterTime // v2 TTL: when the key expires, or 0
	Deleted        bool
	Value          []byte
}

// EventType says what an event did to its key.
type EventType uint8

// The types of events. The values are stored; never renumber them.
const (
	EventPut    EventType = 0
	EventDelete EventType = 1
)

// Action is v2's name for a write, kept with its event so that v2 watchers see
// it. Writes that came from v3 have ActionNone, and show as set or delete.
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

// Event is one change of one key, or, when Dir is set, of one v2 directory,
// which v3 never sees. Prev is the version that the change replaced; its Mod is
// zero when there was none.
type Event struct {
	Type   EventType
	Action Action
	Dir    bool
	Key    []byte
	Record Record // the version that the change made; a tombstone for a delete
	Prev   Record
	// PrevGone says that a compaction has taken Prev's value.
	PrevGone bool
}
