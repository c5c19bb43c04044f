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
	factor  int64 // how many bytes are taken for each byte of pieces and of gathered records
	whole   int64 // how many bytes are taken for each byte of a response without pieces

	atMost   func() int64 // how many records the read may find; nil: not known
	keep     bool         // gathered records stay counted after the read
	begun    bool         // the account counts this read as a response
	foresaw  bool         // what all records need was asked for
	reserved int64        // taken by Run and not used yet
	lacked   int64        // what it ended for want of
	used     int64        // bytes of pieces
	gathered int64        // bytes of records that wait to be sorted, or to be encoded
	sorting  int64        // taken for them
	small    int64        // taken for a response without pieces
	steps    int64        // records that this run has read
	stepped  int64        // bytes of them, times factor
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
	// chunkBytes is how much memory a Walk takes at a time for records that are gathered, and a
	// part of what Run waits for.
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
	w := Walk{ctx: ctx, account: account, factor: 1, whole: 1}
	if account != nil {
		if w.hold = holdOf(ctx); w.hold != nil {
			w.factor, w.whole = w.hold.factor, w.hold.factor
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

// AtMost declares how many records the read returns at most. The function is only called for a
// response of several pieces: the walk takes what all its records are likely to need when it has
// read the first ones, and does not read again and again what there is no memory for.
func (w *Walk) AtMost(records func() int64) { w.atMost = records }

// InPieces declares that the response, once it has a piece, is sent piece by piece, and that each
// piece is released when it has been sent. Then the factor of the request's Hold does not apply to
// pieces: the other form of the response is made of one piece at a time.
func (w *Walk) InPieces() { w.factor = 1 }

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
		return false
	}
	w.used += n
	return true
}

// take takes n bytes, of what is reserved if there is enough left. If they cannot be had the read
// must end: also when other requests wait for memory, since it has read little so far.
func (w *Walk) take(n int64) bool {
	if w.takeReserved(n) || w.takeForeseen(n) {
		return true
	}
	if w.foresaw && w.account.waiting() {
		return w.lack(n)
	}
	return w.takeNow(n) || w.lack(n)
}

// lack notes that n bytes are not to be had. It returns false.
func (w *Walk) lack(n int64) bool {
	w.short, w.lacked = shortOfMemory, n
	return false
}

func (w *Walk) takeReserved(n int64) bool {
	if w.reserved < n {
		return false
	}
	w.reserved -= n
	return true
}

// takeForeseen takes n bytes together with what the records that follow are likely to need. It does
// so once, as soon as a record has been read: a read that finds too little memory ends early, and
// has read little in vain.
func (w *Walk) takeForeseen(n int64) bool {
	if w.foresaw || w.steps == 0 || w.account == nil {
		return false
	}
	w.foresaw = true
	had := w.used + w.sorting
	all := max(n, w.need(had+n)-had-w.reserved)
	if !w.takeNow(all) {
		return false
	}
	w.reserved += all - n
	return true
}

// takeNow takes n bytes from the account unless that has too little.
func (w *Walk) takeNow(n int64) bool {
	if w.begun {
		return w.account.TakeResponse(n)
	}
	w.begun = w.account.TryBeginResponse(n)
	return w.begun
}

// Step is called for each record, of n bytes, that is added to the response. It reports false when
// the read must end.
func (w *Walk) Step(n int64) bool {
	w.stepped += n * w.factor
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
			break
		}
		w.sorting += need
	}
	return w.Step(n)
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

// ReturnPiece gives back what Piece took for n bytes that the response does not have.
func (w *Walk) ReturnPiece(n int64) {
	n *= w.factor
	w.used -= n
	w.account.GiveResponse(n)
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
