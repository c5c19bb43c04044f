package keepalive

import (
	"context"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
)

// extendMax is how many deadlines a command moves ahead, some 5 µs for each. All other commands
// wait meanwhile.
const extendMax = 256

// extension is a request that waits until the deadlines of its leases have been moved ahead.
type extension struct {
	term uint64
	ids  []kv.LeaseID // not proposed yet
	err  error
	done chan struct{}
}

// extend moves the deadlines of leases ahead, and returns when that has been applied. Only one
// command is in progress at a time, for all requests together: when many thousands of leases are
// renewed for the first time, a put waits for one command, and not for all of them.
func (r *Renewer) extend(ctx context.Context, term uint64, ids []kv.LeaseID) error {
	e := &extension{term: term, ids: ids, done: make(chan struct{})}
	r.mu.Lock()
	r.extensions = append(r.extensions, e)
	start := !r.extending
	r.extending = true
	r.mu.Unlock()
	if start {
		go r.proposeExtensions()
	}
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// proposeExtensions proposes commands until no request waits.
func (r *Renewer) proposeExtensions() {
	for {
		term, ids, of := r.nextExtension()
		if len(ids) == 0 {
			return
		}
		c := lease.Extension(term, ids)
		err := r.o.Member.ProposeOwn(r.o.Running, machine.KindLease, c.Append(nil))
		for _, e := range of {
			if err != nil {
				e.err = err
			}
			if len(e.ids) == 0 {
				close(e.done)
			}
		}
	}
}

// nextExtension takes leases of the requests that wait, in their order, and returns them with their
// requests. A request with more leases than fit waits for the rest.
func (r *Renewer) nextExtension() (term uint64, ids []kv.LeaseID, of []*extension) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.extensions) > 0 && len(ids) < extendMax {
		e := r.extensions[0]
		if len(ids) > 0 && e.term != term {
			break
		}
		n := min(len(e.ids), extendMax-len(ids))
		term, ids, of = e.term, append(ids, e.ids[:n]...), append(of, e)
		if e.ids = e.ids[n:]; len(e.ids) == 0 {
			r.extensions = r.extensions[1:]
		}
	}
	if len(ids) == 0 {
		r.extensions, r.extending = nil, false
	}
	return term, ids, of
}
