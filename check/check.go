// Package check decides whether etcd's guarantees allow a history of a cluster.
//
// It owns the format of histories (requests with their responses and times, and what watchers
// received), a model of etcd's semantics that was written independently of mvcc, and the checks:
// linearizability with revisions, serializable reads as prefixes, the guarantees of watches, the
// lifetimes of leases, permissions. It does not record histories: package sim makes them from one
// seed, the torture test from real processes.
//
// A history contains the revision at which every successful request was applied. So the order of
// the writes is known, and a history of thousands of requests is checked in one pass along the
// revisions (Check); only the order of requests that share a revision has to be searched for.
// Porcupine searches for an order without using revisions; it is slow, and serves to check this
// checker.
//
// Requests whose outcome the client does not know are recognized by their effects: watchers that
// together received every event show what each revision changed (History.Watches). Every put must
// have a unique value, and some watcher must watch all keys; otherwise a write whose response was
// lost cannot be distinguished from one that no client sent.
//
// Invariants: a State never changes; the same history gives the same verdict.
//
// Concurrency: none; every result depends only on the arguments.
package check

import (
	"errors"
	"fmt"
	"math"
)

// Never is the Return of a request whose outcome is unknown.
const Never = math.MaxInt64

// KV is one version of a key, as clients receive it.
type KV struct {
	Key, Value           string
	Create, Mod, Version int64
	Lease                int64
}

// Event is one change of one key as watchers receive it. KV of a delete has only Key and Mod. With
// Dir it is a change of a v2 directory, whose KV has only Key and Mod, too.
type Event struct {
	Delete bool
	Dir    bool
	KV     KV
	Prev   *KV // if requested, and if the key existed
}

// Operation is one request of one client.
type Operation struct {
	Client int
	// Call and Return are times on one clock for all clients, in nanoseconds: the request was
	// executed between them. Return is Never when it is unknown whether, and when, it was.
	Call, Return int64
	Request      Request
	Response     Response // meaningless when Return is Never
	// Member is the member that got the request; it is shown in violations.
	Member string
}

// Known reports whether the outcome is known.
func (o *Operation) Known() bool { return o.Return != Never }

// Watch is what one watcher received, from its creation to its end.
type Watch struct {
	Client   int
	Key, End string // the range; see InRange
	// Start is the requested revision, 0 for the events after Created.
	Start int64
	// Created is the revision in the confirmation.
	Created      int64
	PrevKV       bool
	NoPut, NoDel bool // filters
	Dirs         bool // events of directories are delivered, as in v2
	Deliveries   []Delivery
	// Member is the member that served the watch; it is shown in violations.
	Member string
}

// Delivery is one response of a watch: events, or a notification of progress, or the end.
type Delivery struct {
	At       int64 // when it arrived
	Revision int64 // the response's header
	Events   []Event
	// Progress marks a notification: everything up to Revision has been delivered.
	Progress bool
	// Fragment means that the rest of the last revision follows in the next delivery.
	Fragment bool
	// Compacted, when not 0, ends the watch: it needs revisions before the oldest one that can be
	// read.
	Compacted int64
}

// History has the requests and watches of a cluster's clients. The cluster was empty, at revision
// 1, before the first request.
type History struct {
	Operations []Operation
	Watches    []Watch
}

// Violation is one broken guarantee.
type Violation struct {
	Guarantee string // linearizable, serializable, watch-ordered, …
	What      string
}

func (v Violation) String() string { return v.Guarantee + ": " + v.What }

// Options give the precision of times.
type Options struct {
	// ClockSlack is the maximum difference between members in the length of a lease, in
	// nanoseconds, including the rounding of deadlines.
	ClockSlack int64
	// StableSince is the time since which the cluster has been healthy and has had a leader: until
	// then cluster time may have stopped. LeaseGrace is how long after that something may exist
	// beyond its TTL; 0 means no limit.
	StableSince, LeaseGrace int64
}

// Result is the result of a check.
type Result struct {
	Violations []Violation
	// States are the model's, by revision, as far as the history was explained: States[0] is of
	// revision 1.
	States []*State
	// Changes are the events of each revision, by the same index.
	Changes [][]Event
	// Placed is the number of requests with a place in the order.
	Placed int
}

// Err returns the violations as an error, nil when there are none.
func (r *Result) Err() error {
	errs := make([]error, 0, len(r.Violations))
	for _, v := range r.Violations {
		errs = append(errs, errors.New(v.String()))
	}
	return errors.Join(errs...)
}

func (r *Result) add(guarantee, format string, args ...any) {
	r.Violations = append(r.Violations, Violation{guarantee, fmt.Sprintf(format, args...)})
}

// Check returns the violations of a history. It follows the revisions as long as they can be
// explained; watches are checked up to there.
func Check(h *History, o Options) *Result {
	res := &Result{}
	linearize(h, o, res)
	checkSerializable(h, res)
	checkWatches(h, res)
	checkLeases(h, o, res)
	return res
}

// InRange reports whether a key is in the range [key, end) as encoded by etcd's clients: end ""
// means the key alone, "\x00" means no end.
func InRange(key, start, end string) bool {
	switch end {
	case "":
		return key == start
	case "\x00":
		return key >= start
	default:
		return key >= start && key < end
	}
}
