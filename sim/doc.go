// Package sim runs whole clusters from one seed: production replicas (raft, log, state machine,
// storage, watch hub) on a virtual clock, over a network and disks that fail, with clients whose
// histories package check verifies.
//
// It owns the environment of the replicas: the queue of events in virtual time, the network, the
// disks, the faults, the clients and their workloads, and the replacement of package member, which
// has goroutines. It does not own the rules of correctness (check), except for one that only
// internals show: equal states at equal applied indexes.
//
// The course of a run:
//
//	seed ─┬─ cluster: members, clocks
//	      ├─ plan: the faults and their times, made before the run so that some can be left out (minimise.go)
//	      ├─ workloads: the requests of each client (workloads.go)
//	      └─ schedule: the duration of everything, and so the order
//
// Everything happens in one goroutine, in events that are queued by virtual time. The roles of a
// member (raft loop, log writer, applier) are separate events with separate delays, so they
// interleave in every legal way. Pebble has goroutines, but they do not affect a run: stores are
// flushed only when the simulator flushes them and compact nothing (storage.Options.Still), and a
// disk that crashes keeps either no unsynced data, or what it has at a sync, which is the same
// every time.
//
// Invariants: the same Case gives the same Outcome, bit for bit (TestSameSeed); the only clock is
// virtual and the only randomness is the seed's. Raft's randomness comes from crypto/rand.Reader,
// which Run replaces while it runs.
//
// Concurrency: Run may be called from any goroutine, and waits for other calls of it.
package sim
