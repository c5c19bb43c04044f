package v2http

import (
	"net/http"
	"time"

	"cairn/internal/auth"
	"cairn/internal/watch"
)

// poll is a watch whose client waits.
type poll struct {
	r         *http.Request
	target    target
	caller    auth.Caller
	recursive bool
	events    *watch.Stream
	teller    teller
	until     time.Time
}

// parker is an http.ResponseWriter that answers later than its handler returns (package http1).
// Thousands of polls wait like that without a stack and buffers each.
type parker interface {
	// Parks reports whether Park may be called.
	Parks() bool
	// Park has resume called, on another goroutine, after Wake, at the time, or when the client has
	// gone.
	Park(until time.Time, resume func(gone bool))
	Wake()
}

// park answers the poll when there is something to tell.
func (p *poll) park(w parker) {
	w.Park(p.until, func(gone bool) {
		again := false
		defer func() { // also of a panic
			if !again {
				p.end()
			}
		}()
		if again = !gone && p.tellMore() && time.Now().Before(p.until); again {
			p.park(w)
		}
	})
}

// wait is park for a writer that cannot.
func (p *poll) wait() {
	defer p.end()
	timeout := time.NewTimer(time.Until(p.until))
	defer timeout.Stop()
	for {
		select {
		case <-p.events.Wake():
		case <-p.r.Context().Done():
			return
		case <-p.teller.h.hub.Closed():
			return
		case <-timeout.C:
			return
		}
		if !p.tellMore() {
			return
		}
	}
}

// tellMore tells what there is, and reports whether there may be more. The headers are out: the end
// is all that can be told of what goes wrong.
func (p *poll) tellMore() bool {
	select {
	case <-p.teller.h.hub.Closed():
		return false
	default:
	}
	told, err := p.events.Take()
	return err == nil && p.permitted() && p.teller.tell(told)
}

// permitted reports whether the client may still watch; when users or roles have changed that is
// found out again.
func (p *poll) permitted() bool {
	h := p.teller.h
	if h.guard().Current(&p.caller) {
		return true
	}
	now, err := h.identify(p.r)
	if err != nil || p.target.permitted(now.Who.CanRead, p.recursive) != nil {
		return false
	}
	p.caller = now
	return true
}

func (p *poll) end() {
	p.events.Close()
	p.teller.h.counters.watchers.Add(-1)
}
