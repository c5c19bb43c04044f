package v2http

import (
	"net/http"
	"time"

	"cairn/internal/auth"
	"cairn/internal/budget"
	"cairn/internal/watch"
)

// poll is a watch that waits for events.
type poll struct {
	r           *http.Request
	target      target
	caller      auth.Caller
	recursive   bool
	events      *watch.Stream
	eventWriter eventWriter
	until       time.Time

	account *budget.Account
	held    int64 // taken from it for the events that are being sent
}

// take takes the next events and memory for them, until release. Reading history is a long read.
func (p *poll) take() ([]watch.Delivery, error) {
	expectation := &p.eventWriter.h.expectation
	p.held = expectation.Least()
	if !p.account.TryTake(p.held) {
		if err := p.account.Take(p.r.Context(), p.held); err != nil {
			p.held = 0
			return nil, err
		}
	}
	if p.events.Behind() {
		if err := p.account.BeginLong(p.r.Context()); err != nil {
			return nil, err
		}
		defer p.account.EndLong()
	}
	most := watch.SliceBytes
	if !p.eventWriter.stream {
		most = 1 // a poll is answered by one event
	}
	deliveries, err := p.events.TakeUpTo(most)
	taken := int64(p.events.TakenBytes())
	expectation.Note(taken, p.held)
	p.account.Force(max(0, taken-p.held))
	p.account.Give(max(0, p.held-taken))
	p.held = taken
	return deliveries, err
}

// release drops the events of take, which have been sent.
func (p *poll) release() {
	p.events.Done()
	p.account.Give(p.held)
	p.held = 0
}

// parker is an http.ResponseWriter whose response may be written after its handler has returned
// (package http1). Thousands of polls wait without a stack and buffers each.
type parker interface {
	// Parks reports whether Park may be called.
	Parks() bool
	// Park arranges for resume to be called on another goroutine: after Wake, at the given time, or
	// when the client has disconnected.
	Park(until time.Time, resume func(gone bool))
	Wake()
}

// park delivers the poll's events when there are some.
func (p *poll) park(w parker) {
	w.Park(p.until, func(gone bool) {
		again := false
		defer func() { // also after a panic
			if !again {
				p.end()
			}
		}()
		if again = !gone && p.deliverMore() && time.Now().Before(p.until); again {
			p.park(w)
		}
	})
}

// wait is park for a writer without Park.
func (p *poll) wait() {
	defer p.end()
	timeout := time.NewTimer(time.Until(p.until))
	defer timeout.Stop()
	for {
		select {
		case <-p.events.Wake():
		case <-p.r.Context().Done():
			return
		case <-p.eventWriter.h.hub.Closed():
			return
		case <-timeout.C:
			return
		}
		if !p.deliverMore() {
			return
		}
	}
}

// deliverMore delivers the events that there are, and reports whether there may be more. The
// headers have been sent, so an error can only end the response.
func (p *poll) deliverMore() bool {
	select {
	case <-p.eventWriter.h.hub.Closed():
		return false
	default:
	}
	deliveries, err := p.take()
	defer p.release()
	return err == nil && p.permitted() && p.eventWriter.deliver(deliveries)
}

// permitted reports whether the client still has permission to watch. It checks again when users or
// roles have changed.
func (p *poll) permitted() bool {
	h := p.eventWriter.h
	if h.guard().Current(&p.caller) {
		return true
	}
	now, err := h.identify(p.r)
	if err != nil || p.target.permitted(now.Subject.CanRead, p.recursive) != nil {
		return false
	}
	p.caller = now
	return true
}

func (p *poll) end() {
	p.events.Close()
	p.eventWriter.h.counters.Watchers.Add(-1)
}
