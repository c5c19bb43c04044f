package budget

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
	w.keep = keep
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
	w.steps, w.stepped, w.lacked, w.pauses = 0, 0, 0, 0
	w.foresaw = w.reserved > 0
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
	n *= w.whole
	switch {
	case n <= smallBytesMin:
		return true
	case w.takeReserved(n), w.takeNow(n):
		w.small = n
		return true
	}
	return w.lack(n)
}

// await waits for what the read was short of.
func (w *Walk) await(resp Response) error {
	short := w.short
	w.short = enough
	if short == shortOfTurn {
		had := w.used + w.sorting
		w.used, w.sorting, w.gathered = 0, 0, 0 // what it has taken stays reserved
		resp.Drop()
		w.reserved += had
		return w.awaitTurn()
	}
	// Memory is not waited for with a turn.
	w.endTurn()
	want := w.need(w.used + max(w.gathered, w.sorting) + max(w.lacked, resp.Bytes()*w.whole))
	resp.Drop()
	w.ReleaseGathered()
	w.giveReserved()
	if err := w.account.BeginResponse(w.ctx, want); err != nil {
		return err
	}
	w.begun, w.reserved = true, want
	if !w.brief && !w.lent && want > longBytes*w.factor {
		return w.awaitTurn()
	}
	return nil
}

// awaitTurn waits for a turn, with the memory that is reserved. A read that has a turn does not
// wait for reads that have none.
func (w *Walk) awaitTurn() error {
	if err := w.account.BeginLong(w.ctx); err != nil {
		w.giveReserved()
		return err
	}
	w.turn = true
	return nil
}

const (
	// longBytes is how much memory a read waits for that runs with a turn from its beginning.
	longBytes = (freePauses + 1) * chunkBytes
	// growthMax limits how much a read waits for that has ended for want of memory, as a multiple
	// of what would be certainly too little: its records need not be alike, and there may be fewer.
	// A share that is much too large is served late, or never; for want of one that is too small
	// the read ends again.
	growthMax = 64
)

// need returns how much memory to take for a read that has had some: what all its records take, as
// far as that can be foretold, or half as much again as it had.
func (w *Walk) need(had int64) int64 {
	least := had + chunkBytes*w.factor
	want := max(had+had/2, least)
	if all := w.foretold(); all > 0 {
		want = max(least, min(all, growthMax*want))
	}
	return w.account.Clamp(want, least)
}

// foretold returns how much memory all records take that there may be if they are like those that
// were read, or 0.
func (w *Walk) foretold() int64 {
	if w.atMost == nil || w.steps == 0 {
		return 0
	}
	sorts := w.gathered > 0 && !w.keep // and then each record is encoded, too
	n := w.atMost()
	switch {
	case n >= w.steps && sorts:
		return int64(2 * float64(w.stepped) / float64(w.steps) * float64(n))
	case n >= w.steps:
		return int64(float64(w.stepped)/float64(w.steps)*float64(n)) + chunkBytes*w.factor
	case sorts:
		return 2 * w.gathered
	}
	return 0 // there were more records than now
}

// giveReserved gives back what Run took and no piece has used.
func (w *Walk) giveReserved() {
	w.account.GiveResponse(w.reserved)
	w.reserved = 0
}

func (w *Walk) endTurn() {
	if w.turn {
		w.turn = false
		w.account.EndLong()
	}
}
