package v3rpc

import (
	"context"
	"time"
)

// Each snapshot begins with a flush of the state, whose fsyncs delay writes, and reads the first
// pieces of it. Clients that ask for a snapshot and disconnect at once cost no more than one flush
// in abandonedPause: after one of them, snapshots begin one by one with that pause, and those whose
// clients have disconnected meanwhile do not begin.
const (
	abandonedPause = time.Second
	// abandonedMemory is for how long snapshots begin with pauses after one was abandoned.
	abandonedMemory = 10 * time.Second
)

// snapshotStarts lets snapshots begin. Its fields are those of the holder of the turn.
type snapshotStarts struct {
	turn             chan struct{} // has a token while it is free
	began, abandoned time.Time
}

func newSnapshotStarts() *snapshotStarts {
	s := &snapshotStarts{turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// begin waits until a snapshot may begin, or until ctx ends, whose error it returns.
func (s *snapshotStarts) begin(ctx context.Context) error {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !s.abandoned.IsZero() && time.Since(s.abandoned) < abandonedMemory {
		wait := time.NewTimer(time.Until(s.began.Add(abandonedPause)))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			s.abandoned = time.Now()
			return ctx.Err()
		}
	}
	if err := ctx.Err(); err != nil {
		s.abandoned = time.Now()
		return err
	}
	s.began = time.Now()
	return nil
}

// abandon notes that the client of a snapshot has disconnected before it had all of it.
func (s *snapshotStarts) abandon() {
	<-s.turn
	s.abandoned = time.Now()
	s.turn <- struct{}{}
}
