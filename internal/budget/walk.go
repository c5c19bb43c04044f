package budget

import (
	"context"
	"errors"
	"runtime"
)

// Walk is what one read takes from its client's account: memory for what it returns, and a turn
// once it has turned out to be long.
//
// A read must wait for neither while it runs, since it pins a state of the store. So a read that
// gets no further memory, or no turn, ends early; Run then waits and has it run again, with what it
// waited for.
//
// The zero Walk has no limit and no context. A Walk belongs to one goroutine.
type Walk struct {
	ctx     context.Context
	account *Account
	hold    *Hold // nil: what has been encoded is given back
	factor  int64 // how many bytes are taken for each byte of a response

	begun    bool  // the account counts this read as a response
	reserved int64 // taken by Run and not used yet
	used     int64 // bytes of pieces
	gathered int64 // bytes of records that wait to be sorted, or to be encoded
	sorting  int64 // taken for them
	small    int64 // taken for a response without pieces
	steps    int
	pauses   int
	turn     bool
	lent     bool // the caller has a turn for this read
	brief    bool // it does not wait for other reads before it begins
	short    shortage
	err      error // the context's
}

// shortage is why a read has ended early.
type shortage uint8

const (
	enough shortage = iota
	shortOfMemory
	shortOfTurn
)

const (
	// chunkBytes is how much memory a Walk takes at a time for records that are gathered, and the
	// least that Run waits for.
	chunkBytes = 256 << 10
	// freePauses is how often a read pauses before it needs a turn: until then it is a short one. A
	// list of 1,000 records of some hundred bytes, the usual page, pauses five or six times; if it
	// needed a turn, it would run twice whenever there is none.
	freePauses = 6
	// smallBytesMin is the size up to which a response does not count.
	smallBytesMin = 4 << 10
)

// ErrEndedEarly is what a read returns after Pause, Piece or Gather has ended it. Run handles it.
var ErrEndedEarly = errors.New("read ended early for want of memory or of a turn")

// NewWalk returns the walk of a request. Without an account only the context limits it.
func NewWalk(ctx context.Context, account *Account) Walk {
	w := Walk{ctx: ctx, account: account, factor: 1}
	if account != nil {
		if w.hold = holdOf(ctx); w.hold != nil {
			w.factor = w.hold.factor
		}
	}
	return w
}

// Account returns the account that the walk takes from, which may be nil.
func (w *Walk) Account() *Account { return w.account }

// HasTurn makes the walk rely on the turn that its caller has taken, and will end.
func (w *Walk) HasTurn() { w.lent = true }

// Brief declares that the walk reads a single record, or few. Then it does not wait for reads of
// ranges, of which a limited number runs at a time.
func (w *Walk) Brief() { w.brief = true }

// checkContext records the context's error.
func (w *Walk) checkContext() error {
	if w.err == nil && w.ctx != nil {
		w.err = w.ctx.Err()
	}
	return w.err
}

// Pause implements mvcc.Pauser: it ends the read when its context has ended, or when it becomes
// long and there is no turn.
func (w *Walk) Pause() error {
	switch {
	case w.checkContext() != nil:
		return w.err
	case w.short != enough:
		return ErrEndedEarly
	case w.account == nil:
		return nil
	case w.turn || w.lent:
		runtime.Gosched() // short requests first
		return nil
	}
	if w.pauses++; w.pauses <= freePauses {
		return nil
	}
	w.ctx.Done() // only from here on do some servers find out that the client goes away
	if w.turn = w.account.TryBeginLong(); !w.turn {
		w.short = shortOfTurn
		return ErrEndedEarly
	}
	return nil
}

// Piece takes n bytes for a piece of the response. It reports false when the read must end.
func (w *Walk) Piece(n int64) bool {
	n *= w.factor
	if w.checkContext() != nil || w.short != enough || !w.take(n) {
		w.fallShort()
		return false
	}
	w.used += n
	return true
}

func (w *Walk) fallShort() {
	if w.short == enough {
		w.short = shortOfMemory
	}
}

// take takes n bytes, of what Run reserved if there is enough left.
func (w *Walk) take(n int64) bool {
	if w.reserved >= n {
		w.reserved -= n
		return true
	}
	if w.begun {
		return w.account.TakeResponse(n)
	}
	w.begun = w.account.TryBeginResponse(n)
	return w.begun
}

// Step is called for each record that is added to the response. It reports false when the read must
// end.
func (w *Walk) Step() bool {
	if w.steps++; w.steps%64 == 0 && w.checkContext() != nil {
		return false
	}
	return w.err == nil && w.short == enough
}

// Gather is Step for a record of n bytes that is kept until all have been read. n is negative for
// one that is dropped again.
func (w *Walk) Gather(n int64) bool {
	for w.gathered += n * w.factor; w.gathered > w.sorting && w.short == enough; {
		need := max(chunkBytes, w.gathered-w.sorting)
		if !w.take(need) {
			w.short = shortOfMemory
			break
		}
		w.sorting += need
	}
	return w.Step()
}

// ReleaseAll gives back what was taken for the response.
func (w *Walk) ReleaseAll() {
	w.account.GiveResponse(w.used + w.small)
	w.used, w.small = 0, 0
}

// HandOver is called when the response has been encoded: what was taken for it is given back, or
// left to the request's Hold.
func (w *Walk) HandOver() {
	if w.hold != nil {
		w.hold.leave(w.used + w.small)
		w.used, w.small = 0, 0
	}
	w.ReleaseAll()
}

// LeavePieces leaves what was taken for pieces to the caller, who gives it back to the account by
// GiveResponse.
func (w *Walk) LeavePieces() { w.used = 0 }

// Gathered returns what was taken for gathered records and has not been given back.
func (w *Walk) Gathered() int64 { return w.sorting }

// Keep leaves what was taken for gathered records to the caller, who gives it back to the account
// by GiveResponse.
func (w *Walk) Keep() { w.sorting, w.gathered = 0, 0 }

// ReleaseGathered gives back what was taken for gathered records.
func (w *Walk) ReleaseGathered() {
	w.account.GiveResponse(w.sorting)
	w.sorting, w.gathered = 0, 0
}

// Response is what a read fills.
type Response interface {
	// Drop empties it, and calls Walk.ReleaseAll.
	Drop()
	// Bytes returns what it holds without having taken it by Walk.Piece or Walk.Gather.
	Bytes() int64
}

// Run runs read, which fills resp, until there was room for all of it. Records that were gathered
// stay counted when keep is set; ReleaseGathered must follow. After an error resp is dropped.
func (w *Walk) Run(resp Response, keep bool, read func() error) error {
	defer w.endTurn()
	for {
		err := w.run(read)
		switch {
		case w.err != nil:
			return w.fail(resp, w.err)
		case w.short != enough: // its error, if any, says no more than that
		case err != nil:
			return w.fail(resp, err)
		case w.reserveSmall(resp.Bytes()):
			if !keep {
				w.ReleaseGathered()
			}
			w.giveReserved()
			return nil
		default:
			w.short = shortOfMemory
		}
		if err := w.await(resp); err != nil {
			return err
		}
	}
}

// run calls read when it has a turn: that of a long read, or one of those for reads of ranges. A
// read that runs has memory that it has not taken yet: its buffers before they are full, and the
// blocks that its iterator pins.
func (w *Walk) run(read func() error) error {
	if w.brief || w.turn || w.lent || w.account == nil {
		return read()
	}
	if err := w.account.beginRun(w.ctx); err != nil {
		w.err = err
		return err
	}
	defer w.account.endRun()
	return read()
}

func (w *Walk) fail(resp Response, err error) error {
	resp.Drop()
	w.ReleaseGathered()
	w.giveReserved()
	return err
}

// reserveSmall counts a response of n bytes that took nothing while it was made.
func (w *Walk) reserveSmall(n int64) bool {
	n *= w.factor
	switch {
	case n <= smallBytesMin:
		return true
	case w.reserved >= n:
		w.reserved -= n
	case w.begun:
		if !w.account.TakeResponse(n) {
			return false
		}
	case !w.account.TryBeginResponse(n):
		return false
	}
	w.begun, w.small = true, n
	return true
}

// await waits for what the read was short of.
func (w *Walk) await(resp Response) error {
	short := w.short
	w.short, w.steps = enough, 0
	if short == shortOfTurn {
		had := w.used + w.sorting
		w.used, w.sorting, w.gathered = 0, 0, 0 // what it has taken stays reserved
		resp.Drop()
		w.reserved += had
		if err := w.account.BeginLong(w.ctx); err != nil {
			w.giveReserved()
			return err
		}
		w.turn = true
		return nil
	}
	// Memory is not waited for with a turn.
	w.endTurn()
	w.pauses = 0
	// Not much more than it had: a larger share is served later, and may never be had.
	had := w.used + max(w.gathered, w.sorting) + resp.Bytes()*w.factor
	want := had + max(2*chunkBytes, had/4)
	want = w.account.Clamp(want, had+chunkBytes)
	resp.Drop()
	w.ReleaseGathered()
	w.giveReserved()
	if err := w.account.BeginResponse(w.ctx, want); err != nil {
		return err
	}
	w.begun, w.reserved = true, want
	return nil
}

// giveReserved gives back what Run took and no piece has used.
func (w *Walk) giveReserved() {
	w.account.GiveResponse(w.reserved)
	w.reserved, w.steps = 0, 0
}

func (w *Walk) endTurn() {
	if w.turn {
		w.turn = false
		w.account.EndLong()
	}
}
