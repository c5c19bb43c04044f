package v3rpc

import (
	"errors"
	"testing"

	"cairn/internal/member"
)

func TestSnapshotsAtATime(t *testing.T) {
	s := &server{snapshots: make(chan struct{}, 1)}
	s.snapshots <- struct{}{}
	if err := s.sendSnapshot(nil); !errors.Is(err, member.ErrTooManyRequests) {
		t.Errorf("one more than may be sent: %v", err)
	}
}
