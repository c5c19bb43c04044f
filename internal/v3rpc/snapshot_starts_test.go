package v3rpc

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Snapshots begin at once, unless clients have lately abandoned theirs: then one begins in a
// second, and none whose client has disconnected.
func TestSnapshotStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSnapshotStarts()
		begin := func(ctx context.Context) (after time.Duration, err error) {
			since := time.Now()
			err = s.begin(ctx)
			return time.Since(since), err
		}
		for range 3 {
			if after, err := begin(t.Context()); after != 0 || err != nil {
				t.Fatalf("a snapshot began after %v: %v", after, err)
			}
		}
		s.abandon()
		for range 100 { // clients that disconnect within a millisecond
			gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := begin(gone); err == nil {
				t.Error("a snapshot began for a client that has disconnected")
			}
			cancel()
		}
		if after, err := begin(t.Context()); after != abandonedPause-100*time.Millisecond || err != nil {
			t.Errorf("the next snapshot began after %v: %v", after, err)
		}
		if after, err := begin(t.Context()); after != abandonedPause || err != nil {
			t.Errorf("the one after it began after %v: %v", after, err)
		}
		time.Sleep(abandonedMemory)
		for range 3 {
			if after, err := begin(t.Context()); after != 0 || err != nil {
				t.Errorf("much later a snapshot began after %v: %v", after, err)
			}
		}
		// One that waits for the turn of another one gives up with its client.
		<-s.turn
		gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := begin(gone); err == nil {
			t.Error("a snapshot began without a turn")
		}
		s.turn <- struct{}{}
	})
}
