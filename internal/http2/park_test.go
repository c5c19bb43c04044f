package http2

import (
	"sync/atomic"
	"testing"
	"time"
)

// parking takes the items of a stream that it parks whenever none is queued.
type parking struct {
	Stream
	taken atomic.Int64
	all   chan struct{}
}

const parkingItems = 20_000

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
			if p.taken.Add(1) == parkingItems {
				close(p.all)
			}
		}
	}
}

// TestPark: no item is left in a parked stream, however its arrival and the parking coincide.
func TestPark(t *testing.T) {
	srv := NewServer(Options{})
	c := &Conn{srv: srv, streams: map[uint32]*Stream{}, account: srv.opts.Budget.Open()}
	p := &parking{all: make(chan struct{})}
	p.conn, p.handler, p.ctx.st = c, p, &p.Stream
	p.ParkNew()
	for i := range int64(parkingItems) {
		// An item arrives when the handler has just taken the last one, and parks the stream.
		for began := time.Now(); p.taken.Load() < i && time.Since(began) < 30*time.Second; {
		}
		p.PushParked(Received{Buf: NewBuffer(1)}, nil)
	}
	select {
	case <-p.all:
	case <-time.After(30 * time.Second):
		t.Fatal("an item was left in the queue")
	}
	srv.workers.stop()
}
