package v3rpc

import (
	"context"

	"cairn/internal/budget"
)

// room is the memory that a list takes from the account of its client's connection while it is read
// and sent. Lists within the first piece are not counted here: the transport counts them when they
// are encoded.
//
// A walk must not wait for memory, since it pins a state of the store. So a list that gets no
// further piece ends its walk (short); await then waits for memory for the whole list, and the walk
// starts again with that reserved.
type room struct {
	ctx     context.Context
	account *budget.Account

	begun    bool  // the account counts this list as a response
	reserved int64 // taken by await and not used by a piece yet
	used     int64 // bytes of pieces
	gathered int64 // bytes of records collected for sorting
	sorting  int64 // bytes taken for them
	steps    int
	short    bool
	err      error // the context's
}

// piece takes n bytes for a piece. It reports false when the walk must end.
func (r *room) piece(n int64) bool {
	r.used += n
	if r.ctx != nil && r.err == nil {
		r.err = r.ctx.Err()
	}
	if r.short || !r.take(n) {
		r.used -= n
		r.short = true
	}
	return !r.short
}

// take takes n bytes, from the reservation of await if that is large enough.
func (r *room) take(n int64) bool {
	if r.reserved >= n {
		r.reserved -= n
		return true
	}
	if r.begun {
		return r.account.TakeResponse(n)
	}
	r.begun = r.account.TryBeginResponse(n)
	return r.begun
}

// step is called for each record of a walk. It reports false when the walk must end.
func (r *room) step() bool {
	r.steps++
	if r.steps%64 == 0 && r.ctx != nil && r.err == nil {
		r.err = r.ctx.Err()
	}
	return r.err == nil && !r.short
}

// gather is step for a record of n bytes that is kept until all have been read.
func (r *room) gather(n int64) bool {
	if r.gathered += n; r.gathered > r.sorting && !r.short {
		if r.take(pieceBytes) {
			r.sorting += pieceBytes
		} else {
			r.short = true
		}
	}
	return r.step()
}

// endWalk releases the memory that only the walk needed.
func (r *room) endWalk() {
	r.account.GiveResponse(r.sorting)
	r.sorting = 0
}

// release releases n bytes of pieces.
func (r *room) release(n int64) {
	r.used -= n
	r.account.GiveResponse(n)
}

// dropReserved releases the unused reservation of await.
func (r *room) dropReserved() {
	r.account.GiveResponse(r.reserved)
	r.reserved, r.gathered, r.steps = 0, 0, 0
}

// await waits for memory for n bytes after a walk that was too short.
func (r *room) await(n int64) error {
	r.short = false
	if err := r.account.BeginResponse(r.ctx, n); err != nil {
		return err
	}
	r.begun, r.reserved = true, n
	return nil
}

// list runs read, which fills resp, until there was memory for all of it. On an error resp is
// dropped.
func list(resp *rangeResponse, read func() error) error {
	for {
		err := read()
		m := &resp.mem
		gathered := m.gathered
		m.endWalk()
		if err == nil {
			err = m.err
		}
		if err == nil && !m.short {
			m.dropReserved()
			return nil
		}
		// Request not much more than it had: a larger share is served later, and may never be
		// available.
		had := m.used + gathered
		want := had + max(2*pieceBytes, had/4)
		want = m.account.Clamp(want, had+pieceBytes)
		resp.drop()
		m.dropReserved()
		if err == nil {
			err = m.await(want)
		}
		if err != nil {
			return err
		}
	}
}
