package kv

import "errors"

// Refusal is implemented by the errors that refuse a request or command: the reason is in the
// request, or in the state that it is applied to, and every member decides alike. All other errors
// are failures of the member. An error is marked as a refusal where it is made; wrapping preserves
// the mark.
type Refusal interface {
	error
	// Refusal marks the type. It does nothing.
	Refusal()
}

// NewRefusal returns a refusal with a text, for comparison by errors.Is.
func NewRefusal(text string) error { return &refusal{text} }

type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func (*refusal) Refusal() {}

// Refused reports whether err is a refusal or wraps one.
func Refused(err error) bool {
	var r Refusal
	return errors.As(err, &r)
}
