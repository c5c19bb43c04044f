package budget

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// pieces is a Response of some pieces.
type pieces struct {
	w     *Walk
	n     int64
	bytes int64 // without pieces
}

func (p *pieces) Drop() {
	p.n = 0
	p.w.ReleaseAll()
}

func (p *pieces) Bytes() int64 { return p.bytes }

// besides returns the bytes taken besides what is guaranteed to the open accounts.
func besides(b *Budget) int64 { return b.Used() - b.accounts.Load()*guaranteeBytes }

const piece = 256 << 10

// A read that finds no memory gives back what it has, waits, and runs again with all that it needs.
func TestWalkWaitsForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(10 << 20)
		b.TryTake(8 << 20)
		a := b.Open()
		w := NewWalk(t.Context(), a)
		resp := &pieces{w: &w}
		runs := 0
		done := make(chan error, 1)
		go func() {
			done <- w.Run(resp, false, func() error {
				for runs++; resp.n < 12; resp.n++ {
					if !w.Piece(piece) {
						return nil
					}
				}
				return nil
			})
		}()
		synctest.Wait()
		if besides(b) != 8<<20 {
			t.Errorf("the read holds %d bytes while it waits", besides(b)-8<<20)
		}
		b.Give(8 << 20)
		if err := <-done; err != nil || resp.n != 12 || runs < 2 {
			t.Fatalf("%d pieces in %d runs: %v", resp.n, runs, err)
		}
		if besides(b) != 12*piece {
			t.Errorf("%d bytes taken, want %d", besides(b), 12*piece)
		}
		w.HandOver()
		if besides(b) != 0 {
			t.Errorf("%d bytes were not given back", besides(b))
		}
	})
}

// A read that becomes long runs again once it has a turn, and keeps its memory while it waits.
func TestWalkWaitsForATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(10 << 20)
		b.long.free = 1
		a := b.Open()
		a.TryBeginLong()
		w := NewWalk(t.Context(), a)
		resp := &pieces{w: &w}
		done := make(chan error, 1)
		go func() {
			done <- w.Run(resp, false, func() error {
				for range freePauses + 4 {
					w.Piece(piece)
					if err := w.Pause(); err != nil {
						return err
					}
				}
				return nil
			})
		}()
		synctest.Wait()
		if want := int64(freePauses+1) * piece; besides(b) != want {
			t.Errorf("%d bytes taken during the wait, want %d", besides(b), want)
		}
		a.EndLong()
		if err := <-done; err != nil || besides(b) != (freePauses+4)*piece || b.long.free != 1 {
			t.Errorf("%d bytes taken, %d turns free: %v", besides(b), b.long.free, err)
		}
	})
}

// Of many long reads whose clients do not take the response, those that there is memory for run to
// their end. All others find that out by a few short runs, and wait: they do not read the store
// again each time when some memory is released.
func TestWalksWithoutMemoryReadLittle(t *testing.T) {
	const reads, records, recordBytes, factor = 300, 200, 100_000, 5
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := New(256 << 20)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			var walked, complete atomic.Int64
			for range reads {
				a := b.Open()
				ctx, h := WithHold(context.WithValue(ctx, Key{}, a), factor)
				w := NewWalk(ctx, a)
				if known {
					w.AtMost(func() int64 { return records })
				}
				wg.Go(func() {
					defer a.Close()
					defer h.Close()
					resp := &pieces{w: &w}
					err := w.Run(resp, false, func() error { return readRecords(&w, records, recordBytes, &walked) })
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					if err == nil {
						complete.Add(1)
						w.HandOver()
						<-ctx.Done() // the client does not read
					}
				})
			}
			synctest.Wait()
			most := int64(10 * records * recordBytes)
			if known {
				most = 1 << 20
			}
			t.Logf("%d reads were complete; each of the others read %d bytes on average", complete.Load(), walked.Load()/reads)
			if complete.Load() != 2 || walked.Load() > reads*most {
				t.Errorf("%d reads were complete, want 2; each read %d bytes on average, want at most %d",
					complete.Load(), walked.Load()/reads, most)
			}
			cancel()
			wg.Wait()
			if b.Used() != 0 {
				t.Errorf("%d bytes were not given back", b.Used())
			}
		})
	}
}

// readRecords is a read of records that are encoded into pieces.
func readRecords(w *Walk, records int, recordBytes int64, walked *atomic.Int64) error {
	inPiece, sincePause := int64(piece), int64(0)
	for range records {
		walked.Add(recordBytes)
		if inPiece += recordBytes; inPiece >= piece {
			inPiece -= piece
			w.Piece(piece)
		}
		if sincePause += recordBytes; sincePause >= piece {
			sincePause = 0
			if err := w.Pause(); err != nil {
				return err
			}
		}
		if !w.Step(recordBytes) {
			return nil
		}
	}
	return nil
}

// A response without pieces counts once it is made, and its reader waits with nothing in hand.
func TestWalkOfASmallResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(10 << 20)
		a := b.Open()
		a.TryBeginResponse(responsesMax)
		w := NewWalk(t.Context(), a)
		resp := &pieces{w: &w}
		done := make(chan error, 1)
		go func() {
			done <- w.Run(resp, false, func() error {
				resp.bytes = 60_000
				return nil
			})
		}()
		synctest.Wait()
		if besides(b) != responsesMax {
			t.Errorf("%d bytes taken during the wait", besides(b)-responsesMax)
		}
		a.GiveResponse(responsesMax)
		if err := <-done; err != nil || besides(b) != 60_000 {
			t.Errorf("%d bytes taken: %v", besides(b), err)
		}
	})
}

// The end of the context ends a read, and a wait.
func TestWalkEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(10 << 20)
		b.TryTake(9 << 20)
		a := b.Open()
		ctx, cancel := context.WithCancel(t.Context())
		w := NewWalk(ctx, a)
		resp := &pieces{w: &w}
		done := make(chan error, 1)
		go func() {
			done <- w.Run(resp, false, func() error {
				for range 100 {
					if !w.Piece(piece) {
						return nil
					}
				}
				return nil
			})
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("a wait: %v", err)
		}
		w = NewWalk(ctx, a)
		if err := w.Run(resp, false, w.Pause); !errors.Is(err, context.Canceled) {
			t.Errorf("a read: %v", err)
		}
		if besides(b) != 9<<20 {
			t.Errorf("%d bytes were not given back", besides(b)-9<<20)
		}
	})
}

// TestHold: bytes that reads pass to a Hold count, times its factor, until the Hold is closed.
func TestHold(t *testing.T) {
	b := New(10 << 20)
	a := b.Open()
	ctx, h := WithHold(context.WithValue(t.Context(), Key{}, a), 5)
	w := NewWalk(ctx, a)
	resp := &pieces{w: &w}
	err := w.Run(resp, false, func() error {
		w.Piece(piece)
		return nil
	})
	w.HandOver()
	if err != nil || h.Responses() != 5*piece || !h.TryTake(guaranteeBytes+100) || besides(b) != 5*piece+100 {
		t.Errorf("%d bytes held, %d taken: %v", h.Responses(), besides(b), err)
	}
	h.Close()
	if besides(b) != 0 || h.TryTake(1) {
		t.Errorf("%d bytes taken after the end", besides(b))
	}
}
