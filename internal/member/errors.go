package member

import "errors"

// The errors of a member, in addition to those of the state machine.
var (
	// ErrTimeout is returned for a request that was not applied in time. It may be applied later.
	ErrTimeout = errors.New("request timed out")
	// ErrLeaderChanged is returned for a request that was in progress when the leader was lost. It
	// may have been applied.
	ErrLeaderChanged = errors.New("request timed out, possibly due to previous leader failure")
	// ErrTooManyRequests is returned when the backlog is full; nothing was proposed.
	ErrTooManyRequests = errors.New("too many requests")
	// ErrStopped is returned when the member is closing or has failed.
	ErrStopped = errors.New("member stopped")
	// ErrTooLarge is returned when a request is larger than the limit; nothing was proposed.
	ErrTooLarge = errors.New("request is too large")
)
