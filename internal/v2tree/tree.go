// Package v2tree is etcd's v2 key tree, as a way to read and write the keys of
// mvcc: the key /a/b of the one dialect is the key /a/b of the other.
//
// It owns the v2 commands and their encoding, their effects and refusals, the directories (table d)
// and the index of TTLs (table t), all drawn in docs/formats/v2.md. It does not own HTTP, JSON or
// the texts of errors (v2http), the log and the order of commands (machine), or watches.
//
// A directory exists when a v2 write has made it (table d has it), or when there is a key below it
// that is a path of v2. Where a key and a directory have the same path, v2 shows the directory, and
// deleting the directory deletes the key. A key that is not a clean absolute path is invisible: v2
// neither shows nor deletes it.
//
// Invariants:
//   - When table d has a directory, it has all directories above it, except the
//     root, which needs no entry.
//   - A key or directory with a deadline has an entry in table t. The reverse does
//     not hold: a v3 write drops the deadline of a key and knows nothing of t, so
//     an entry of t counts only while its key or directory has that deadline.
//   - A command that succeeds moves the revision by one; one that is refused, or that finds nothing
//     to expire, does not move it (applier.checkRevision).
//
// The tests check the first two on the whole state after each command (checkInvariants).
//
// Everything here is a function of the state, the command and the cluster time:
// it reads no clock and starts no goroutine. Apply belongs to the applier's
// goroutine; Get may be called from any.
package v2tree

import (
	"fmt"
	"time"

	"cairn/internal/kv"
)

// Error is a refusal, with the code and the cause of etcd's v2 API and the revision of the state
// that caused it.
type Error struct {
	Code  int
	Cause string
	Index int64
}

// The codes of refusals that the state of the tree can cause. Their texts on the
// wire are v2http's.
const (
	CodeKeyNotFound       = 100
	CodeCompareFailed     = 101
	CodeNotFile           = 102
	CodeNotDirectory      = 104
	CodeKeyExists         = 105
	CodeRootReadOnly      = 107
	CodeDirectoryNotEmpty = 108
)

// Refusal implements kv.Refusal.
func (*Error) Refusal() {}

// Error returns code, cause and index.
func (e *Error) Error() string {
	return fmt.Sprintf("v2 error %d (%s) at index %d", e.Code, e.Cause, e.Index)
}

// Node is a key or directory as v2 shows it.
type Node struct {
	Key []byte
	Dir bool
	// HasValue distinguishes a key with an empty value from a node without a value: a directory, or
	// a deleted node.
	HasValue bool
	Value    []byte
	// Expires reports whether the node has a TTL. Left is the remaining TTL, which is negative when
	// the node is due but has not expired yet.
	Expires bool
	Left    time.Duration
	// Modified and Created are revisions. The root has none.
	Modified, Created int64
	// Nodes is the content of a directory, sorted by key, when it was requested.
	Nodes []Node
}

// Result is the result of a command. Its keys and values may alias the command and the store's
// memory; they do not change.
type Result struct {
	Action  kv.Action
	Node    Node
	Prev    Node // the node before the command
	HasPrev bool
	Created bool           // a set or create made a node where none was
	Index   int64          // the revision of the change
	At      kv.ClusterTime // the time of the change; remaining TTLs are as of this time
}

// left returns the remaining TTL.
func left(deadline, now kv.ClusterTime) time.Duration { return time.Duration(deadline - now) }

func fileNode(key []byte, rec *kv.Record, now kv.ClusterTime) Node {
	n := Node{Key: key, HasValue: true, Value: rec.Value, Modified: rec.Mod.Main, Created: rec.CreateRevision}
	if rec.Deadline != 0 {
		n.Expires, n.Left = true, left(rec.Deadline, now)
	}
	return n
}

func dirNode(path []byte, d directory, now kv.ClusterTime) Node {
	n := Node{Key: path, Dir: true, Modified: d.created, Created: d.created}
	if d.deadline != 0 {
		n.Expires, n.Left = true, left(d.deadline, now)
	}
	return n
}
