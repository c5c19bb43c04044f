package http2

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// parking takes the items of a stream that it parks whenever none is queued.
type parking struct {
	Stream
	taken atomic.Int64
}

func (*parking) Started(bool)               {}
func (*parking) Received([]byte, bool) bool { return false }
func (*parking) AppendEnd()                 {}
func (*parking) Value(any) any              { return nil }

func (p *parking) Serve(*Worker) bool {
	for {
		if parked, _ := p.Park(); parked {
			return false
		}
		if m, ok, _ := p.pop(); ok {
			m.Buf.Free()
			p.taken.Add(1)
		}
	}
}

// TestPark: no item is left in a parked stream, however its arrival and the parking coincide. On a
// machine whose processors are busy each item waits for the kernel to run the other goroutine's
// thread, so that there are fewer of them.
func TestPark(t *testing.T) {
	const items, atMost = 20_000, 2 * time.Second
	srv := NewServer(Options{})
	c := &Conn{srv: srv, streams: map[uint32]*Stream{}, account: srv.opts.Budget.Open()}
	p := new(parking)
	p.conn, p.handler, p.ctx.st = c, p, &p.Stream
	p.ParkNew()
	begun := time.Now()
	for i := int64(0); i < items && time.Since(begun) < atMost; i++ {
		p.PushParked(Received{Buf: NewBuffer(1)}, nil)
		// The next item arrives when the handler has just taken this one, and parks the stream.
		for spins, since := 1, time.Now(); p.taken.Load() <= i; spins++ {
			if spins%10_000 > 0 {
				continue
			}
			if runtime.Gosched(); time.Since(since) > time.Minute {
				t.Fatal("an item was left in the queue")
			}
		}
	}
	srv.workers.stop()
}
