package h2grpc

import (
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// fragmentsMax is how many CONTINUATION frames a header block may have; empty ones cost
	// us a frame each and the peer nine bytes.
	fragmentsMax = 64
	// floodMax is how many frames that move nothing forward (control frames, empty DATA,
	// DATA and HEADERS for ended streams, resets) a connection may send between two DATA
	// frames of ours.
	floodMax = 20000
	// controlsMax is how many answers to control frames may wait for a peer that does not read.
	controlsMax = 2000
	// orphansMax is how many handlers may still run for streams that are gone before new
	// streams are refused: opening and resetting in turn does not buy more handlers.
	orphansMax = 1024
	// cutsMax is how many streams that we ended before their client did are remembered.
	cutsMax = 256

	lingerMax   = time.Second
	lingerBytes = 1 << 20
)

// countFlood is called for each frame that costs us something and moves nothing forward. It
// is reader-owned.
func (c *conn) countFlood() error {
	r := &c.in
	r.flood++
	if r.flood < floodMax {
		return nil
	}
	if c.progress.And(^progressFlood)&progressFlood != 0 {
		r.flood = 0
		return nil
	}
	return connError{errEnhanceYourCalm, "too many frames without progress"}
}

// countControlLocked is called when an answer to a control frame was appended to the output.
func (c *conn) countControlLocked() error {
	c.in.wrote = true
	if c.out.controls++; c.out.controls > controlsMax {
		return connError{errEnhanceYourCalm, "control frames unread"}
	}
	return nil
}

// headerBlockMax bounds a compressed block. Huffman coding can make a field longer than it is,
// but not by more than this allows for reasonable ones.
func (c *conn) headerBlockMax() int { return c.srv.opts.MaxHeaderBytes + frameLenMax }

// rememberCut notes that a stream was ended by us while its client was still sending, so that
// frames already under way are not taken for a protocol error. conn.mu is held.
func (c *conn) rememberCut(id uint32) {
	if len(c.cuts) < cutsMax {
		c.cuts = append(c.cuts, id)
		return
	}
	c.cuts[c.cutNext] = id
	c.cutNext = (c.cutNext + 1) % cutsMax
}

func (c *conn) wasCut(id uint32) bool {
	for _, cut := range c.cuts {
		if cut == id {
			return true
		}
	}
	return false
}

// tooLongHead turns a request whose headers exceed MaxHeaderBytes into one that is refused.
func (c *conn) tooLongHead(req requestHead) requestHead {
	if req.callHead == nil {
		req.callHead = &callHead{path: "/", contentType: "application/grpc"}
	}
	req.refuse = status.Newf(codes.ResourceExhausted, "header list larger than %d bytes", c.srv.opts.MaxHeaderBytes)
	req.refuseHTTP = 431
	return req
}

// pingPolicy counts a client's pings that come too soon.
type pingPolicy struct {
	last    time.Time
	strikes int
}

const (
	pingStrikesMax = 2
	// pingIdleMin is the least time between pings while no stream is open, where the policy
	// does not permit them at all.
	pingIdleMin = 2 * time.Hour
)

// judgePing applies gRPC's keepalive policy (proposal A8): a ping is free after DATA of ours,
// otherwise it must keep a distance from the one before.
func (c *conn) judgePing(openStreams int) error {
	p := &c.in.pings
	now := time.Now()
	last := p.last
	p.last = now
	if c.progress.And(^progressPing)&progressPing != 0 {
		p.strikes = 0
		return nil
	}
	least := c.srv.opts.KeepaliveMinTime
	if openStreams == 0 && !c.srv.opts.KeepalivePermitWithoutStream {
		least = pingIdleMin
	}
	if now.Sub(last) < least {
		p.strikes++
	}
	if p.strikes > pingStrikesMax {
		return connError{errEnhanceYourCalm, "too_many_pings"}
	}
	return nil
}

// watchState is what the janitor remembers of a connection between two looks.
type watchState struct {
	reads    uint64
	since    time.Time // of the last read that it noticed
	pingedAt time.Time // zero: no ping is out
}

var (
	errKeepalive  = errors.New("keepalive ping not answered")
	errWriteStuck = errors.New("peer does not read")
)

// watchConns looks after silent and stuck connections. One ticking goroutine for all of them
// spares every read a clock reading and a timer.
func (s *Server) watchConns() {
	o := &s.opts
	tick := min(o.KeepaliveTime, o.KeepaliveTimeout, o.WriteTimeout, 4*time.Second) / 4
	ticker := time.NewTicker(max(tick, 5*time.Millisecond))
	defer ticker.Stop()
	var conns []*conn
	for {
		select {
		case <-s.stopWatch:
			return
		case now := <-ticker.C:
			s.mu.Lock()
			conns = conns[:0]
			for c := range s.conns {
				conns = append(conns, c)
			}
			s.mu.Unlock()
			for _, c := range conns {
				c.look(now)
			}
			clear(conns)
		}
	}
}

func (c *conn) look(now time.Time) {
	o := &c.srv.opts
	if start := c.writeStart.Load(); start != 0 && now.UnixNano()-start > int64(o.WriteTimeout) {
		c.fail(errWriteStuck)
		return
	}
	w := &c.watch // the janitor's alone
	if n := c.reads.Load(); n != w.reads || w.since.IsZero() {
		w.reads, w.since, w.pingedAt = n, now, time.Time{}
		return
	}
	switch {
	case !w.pingedAt.IsZero():
		if now.Sub(w.pingedAt) > o.KeepaliveTimeout {
			c.fail(errKeepalive)
		}
	case now.Sub(w.since) > o.KeepaliveTime:
		w.pingedAt = now
		c.mu.Lock()
		c.out.buf = appendFrameHeader(c.out.buf, 8, framePing, 0, 0)
		c.out.buf = append(c.out.buf, make([]byte, 8)...)
		c.mu.Unlock()
		c.flushAside()
	}
}
