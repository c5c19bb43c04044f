package member

import "errors"

// The errors of a member, in addition to those of the state machine.
var (
	// ErrTimeout is returned for a request that was not applied in time. It may be applied later.
	ErrTimeout = errors.New("request timed out")
	// ErrLeaderChanged is returned for a request that was in progress when the leader was lost, and
	// whose outcome is unknown. Requests that were certainly lost are proposed again instead.
	ErrLeaderChanged = errors.New("request timed out, possibly due to previous leader failure")
	// ErrTooManyRequests is returned when the backlog is full; nothing was proposed.
	ErrTooManyRequests = errors.New("too many requests")
	// ErrStopped is returned when the member is closing or has failed.
	ErrStopped = errors.New("member stopped")
	// ErrRemoved is returned by a member that was removed from the cluster. The request was not
	// executed.
	ErrRemoved error = removedError{}
	// ErrTooLarge is returned when a request is larger than the limit; nothing was proposed.
	ErrTooLarge = errors.New("request is too large")
)

type removedError struct{}

// Error implements error.
func (removedError) Error() string {
	return "this member was removed from the cluster: ask another one"
}

// Unexecuted marks errors of requests that have certainly not been executed.
func (removedError) Unexecuted() {}
