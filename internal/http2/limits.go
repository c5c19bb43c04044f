package http2

import (
	"errors"
	"time"
)

const (
	// fragmentsMax is the maximum number of CONTINUATION frames of a header block; an empty one
	// costs the server a frame and the peer nine bytes.
	fragmentsMax = 64
	// floodMax is the maximum number of frames without progress (control frames, empty DATA, DATA
	// and HEADERS for ended streams, resets) that a connection may send between two responses.
	floodMax = 20000
	// controlsMax is the maximum number of replies to control frames that wait for a peer that does
	// not read.
	controlsMax = 2000
	// orphansMax is the number of running handlers whose streams have ended above which new streams
	// are refused: so opening and resetting alternately does not start an unlimited number of
	// handlers.
	orphansMax = 1024
	// cutsMax is the number of remembered streams that the server ended before their client did.
	cutsMax = 256
	// streamBytes is the memory of an open stream in the budget, without its header fields: its
	// state, a handler's stack and small messages.
	streamBytes = 8 << 10
	// backlogMax is the number of bytes of output waiting for the socket above which the connection
	// is not read. Messages that wait for flow control do not count.
	backlogMax = 256 << 10

	// A connection with stalledBytes of unsent responses must take that much within stalledTime
	// while other requests wait for memory.
	stalledBytes = 64 << 10
	stalledTime  = 10 * time.Second

	lingerMax   = time.Second
	lingerBytes = 1 << 20
)

// limits are those limits of a server's connections that tests lower.
type limits struct {
	headerBytes  int           // of a request's header list
	recvBytes    int           // request bytes of a connection that no handler has taken yet
	sendBytes    int           // encoded responses of a connection that wait for flow control
	writeTimeout time.Duration // how long one write to the socket may block
	window       int32         // the flow control window offered per stream
	connWindow   int32         // the flow control window offered per connection
}

func newLimits(bodyBytes int) limits {
	return limits{
		headerBytes:  64 << 10,
		recvBytes:    max(64<<20, 4*bodyBytes),
		sendBytes:    4 << 20,
		writeTimeout: 60 * time.Second,
		window:       256 << 10,
		connWindow:   1 << 20,
	}
}

// countFlood is called for each frame that costs the server time and makes no progress. It is
// reader-owned.
func (c *Conn) countFlood() error {
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

// countControlLocked is called when a reply to a control frame was appended to the output.
func (c *Conn) countControlLocked() error {
	c.in.wrote = true
	if c.out.controls++; c.out.controls > controlsMax {
		return connError{errEnhanceYourCalm, "control frames unread"}
	}
	return nil
}

// headerBlockMax limits a compressed block. Huffman coding can make a field longer, but for
// reasonable fields not by more than this allows.
func (c *Conn) headerBlockMax() int { return c.srv.limits.headerBytes + frameLenMax }

// cutStreams is a ring of the streams that the server ended last while their client was still
// sending, so that frames in transit do not count as a protocol error.
type cutStreams struct {
	ids  []uint32
	next int
}

func (s *cutStreams) add(id uint32) {
	if len(s.ids) < cutsMax {
		s.ids = append(s.ids, id)
		return
	}
	s.ids[s.next] = id
	s.next = (s.next + 1) % cutsMax
}

func (s *cutStreams) has(id uint32) bool {
	for _, cut := range s.ids {
		if cut == id {
			return true
		}
	}
	return false
}

// pingPolicy counts a client's pings that arrive too early.
type pingPolicy struct {
	last    time.Time
	strikes int
}

const (
	pingStrikesMax = 2
	// pingIdleMin is the minimum interval of pings while no stream is open.
	pingIdleMin = 2 * time.Hour
)

// checkPing applies gRPC's keepalive policy (proposal A8): one ping is free after a response,
// otherwise it must keep a minimum interval.
func (c *Conn) checkPing(openStreams int) error {
	p := &c.in.pings
	now := time.Now()
	last := p.last
	p.last = now
	if c.progress.And(^progressPing)&progressPing != 0 {
		p.strikes = 0
		return nil
	}
	least := c.srv.opts.KeepaliveMinTime
	if openStreams == 0 {
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

// watchState is the supervisor's state of a connection between two checks.
type watchState struct {
	reads    uint64
	since    time.Time // when the supervisor noticed the last read
	pingedAt time.Time // zero: no ping is outstanding

	emitted   int64 // bytes of messages sent at emittedAt
	emittedAt time.Time
}

var (
	errKeepalive  = errors.New("keepalive ping not acknowledged")
	errWriteStuck = errors.New("peer does not read")
	errStalled    = errors.New("peer reads too slowly while memory is short")
)

// watchConns detects silent and stuck connections. One ticking goroutine for all connections saves
// every read a clock reading and a timer.
func (s *Server) watchConns() {
	tick := min(s.opts.KeepaliveTime, s.opts.KeepaliveTimeout, s.limits.writeTimeout, 4*time.Second) / 4
	ticker := time.NewTicker(max(tick, 5*time.Millisecond))
	defer ticker.Stop()
	var conns []*Conn
	for {
		select {
		case <-s.stop:
			return
		case now := <-ticker.C:
			conns = s.conns.AppendAll(conns[:0])
			for _, c := range conns {
				c.look(now)
			}
			clear(conns)
		}
	}
}

// stalled reports whether the connection has responses whose memory others wait for, and has taken
// less than stalledBytes of them within stalledTime.
func (c *Conn) stalled(w *watchState, now time.Time) bool {
	c.mu.Lock()
	queued, emitted := c.out.queued, c.out.emitted
	c.mu.Unlock()
	switch {
	case queued < stalledBytes || emitted-w.emitted >= stalledBytes || w.emittedAt.IsZero():
		w.emitted, w.emittedAt = emitted, now
		return false
	default:
		return now.Sub(w.emittedAt) > stalledTime && c.srv.opts.Budget.Waiting()
	}
}

func (c *Conn) look(now time.Time) {
	o := &c.srv.opts
	if start := c.writeStart.Load(); start != 0 && now.UnixNano()-start > int64(c.srv.limits.writeTimeout) {
		c.fail(errWriteStuck)
		return
	}
	w := &c.watch
	if c.stalled(w, now) {
		c.fail(errStalled)
		return
	}
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
		c.flushOnWorker()
	}
}
