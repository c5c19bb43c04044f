package v2http

import (
	"bytes"
	"context"
	"time"

	"cairn/internal/machine"
	"cairn/internal/v2tree"
)

// A key below a thousand directories costs a thousand times its path: each directory has a key of
// its own in the store. Such commands are proposed one after the other, no faster than the store
// can write them to the disk beside everything else: else its memtables are full all the time, and
// every write waits.
const (
	// deepBytesMin is the size of a path's directories from which on it is deep.
	deepBytesMin = 64 << 10
	// deepRate is how many bytes of directories are created per second.
	deepRate = 16 << 20
)

// deepBytes returns the size of the directories that a command may create, or 0 if that is little.
func deepBytes(c *v2tree.Command) int64 {
	if !machine.AddsV2(c.Kind) {
		return 0
	}
	// the n directories above are half as long as the path on average
	if n := int64(bytes.Count(c.Path, []byte{'/'})) * int64(len(c.Path)) / 2; n >= deepBytesMin {
		return n
	}
	return 0
}

// deepLane lets commands with deep paths through one by one.
type deepLane chan struct{}

// enter waits for the lane until ctx ends, whose error it returns. leave must follow if it is nil.
func (l deepLane) enter(ctx context.Context, size int64) error {
	if size == 0 {
		return nil
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave frees the lane, later if the command was large.
func (l deepLane) leave(size int64) {
	if size > 0 {
		time.AfterFunc(time.Duration(size)*time.Second/deepRate, func() { <-l })
	}
}
