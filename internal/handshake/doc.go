// Package handshake limits how many TLS handshakes use the processor at the same time, so that many
// new connections delay each other instead of the requests of existing ones (ADR 0021).
//
// It owns the turns of handshakes: a handshake takes a turn before it computes, and returns it
// while it waits for the client. Each turn is followed by a rest, and the thread that computes lets
// threads that wake up go first. Waiting handshakes of different addresses take turns in rotation,
// so that one address cannot delay the others. It does not own what a handshake checks (package
// certs) nor the time limit of a connection (packages portmux and listen).
//
// Invariants: at most Turns.limit handshakes have a turn; while a turn is free, no handshake waits
// for one; no handshake has a turn while it reads from its connection (TestTurns, TestSlowClient).
// No thread keeps the time slice of a handshake after a turn (TestThreadSlice).
//
// Concurrency: a Turns may be used by any number of goroutines. A Conn belongs to the goroutine
// that makes its handshake, and afterwards follows the rules of net.Conn.
package handshake
