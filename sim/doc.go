// Package sim runs whole clusters from one seed: production replicas (raft, log, state machine,
// storage, watch hub) on a virtual clock, over a network and disks that fail, with clients whose
// histories package check judges.
//
// It owns the world that replicas live in: the queue of events in virtual time, the network, the
// disks, the faults, the clients and their workloads, and what replaces package member, which
// has goroutines. It does not own what is right and wrong (check), but for what only the inside
// shows: equal states at equal applied indexes.
//
// How a run goes:
//
//	seed ─┬─ cluster: members, clocks
//	      ├─ plan: which fault when, made before the run so that a part of it can be left out (minimise.go)
//	      ├─ workloads: what each client asks for (workloads.go)
//	      └─ schedule: how long everything takes, and so in which order it happens
//
// Everything happens in one goroutine, in events that are queued by virtual time. The roles of a
// member (raft loop, log writer, applier) are events of their own with delays of their own, so they
// interleave in every legal way. Pebble has goroutines, which matter to nothing: stores are flushed
// when the world says so and compact nothing (storage.Options.Still), and a disk that crashes keeps
// either nothing of what was not synced, or what it has at a sync, which is the same every time.
//
// Invariants: the same Case gives the same Outcome, bit for bit; nothing reads a clock or any other
// randomness than the seed's. Raft's own comes from crypto/rand.Reader, which Run replaces while it
// runs.
//
// Concurrency: Run may be called by anyone, and waits for other calls of it.
package sim
