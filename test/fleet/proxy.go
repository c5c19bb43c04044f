package fleet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"sync"
	"time"
)

const (
	headMax    = 64 << 10 // bytes of a request's head
	chunkMax   = 32 << 10
	chunksMax  = 64 // in flight in one direction
	dialMax    = 5 * time.Second
	fromHeader = "Cairn-From"
)

// proxy forwards connections to one member's peer port. Every request between members names its
// sender in the head (docs/formats/peer.md), so the proxy knows both ends of a connection.
type proxy struct {
	w  *Wire
	to *Member
	l  net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu; nil when the proxy is closed
}

func newProxy(w *Wire, to *Member) (*proxy, error) {
	host, _, err := net.SplitHostPort(to.listen)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, err
	}
	p := &proxy{w: w, to: to, l: l, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) address() string { return p.l.Addr().String() }

func (p *proxy) close() {
	p.l.Close()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.wg.Wait()
}

// keep registers a connection to be closed with the proxy, and reports whether the proxy is still
// open.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // possibly out of file descriptors: do not spin
			continue
		}
		p.wg.Go(func() {
			if p.keep(c) {
				defer p.drop(c)
				p.serve(c)
			}
		})
	}
}

func (p *proxy) serve(in net.Conn) {
	head, from, err := readHead(in)
	if err != nil {
		return
	}
	c := &connection{from: from, to: p.to, in: in, done: make(chan struct{})}
	if !p.w.open(c) {
		return
	}
	defer p.w.closed(c)
	ctx, cancel := context.WithTimeout(context.Background(), dialMax)
	defer cancel()
	out, err := new(net.Dialer).DialContext(ctx, "tcp", p.to.listen)
	if err != nil || !p.keep(out) {
		return
	}
	defer p.drop(out)
	c.pump(p.w, out, io.MultiReader(bytes.NewReader(head), in))
}

// readHead reads the head of a request. It returns the head with the bytes read behind it, and the
// ID of the sender, 0 when the head has none.
func readHead(c net.Conn) (head []byte, from uint64, err error) {
	var read bytes.Buffer
	r := textproto.NewReader(bufio.NewReader(io.TeeReader(io.LimitReader(c, headMax), &read)))
	if _, err := r.ReadLine(); err != nil {
		return nil, 0, err
	}
	fields, err := r.ReadMIMEHeader()
	if err != nil {
		return nil, 0, err
	}
	if text := fields.Get(fromHeader); text != "" {
		from, err = strconv.ParseUint(text, 16, 64)
	}
	return read.Bytes(), from, err
}

// connection is a connection that a member has opened to another.
type connection struct {
	from uint64
	to   *Member
	in   net.Conn

	once sync.Once
	done chan struct{} // closed to end the connection
}

func (c *connection) close() { c.once.Do(func() { close(c.done) }) }

// pump carries bytes in both directions until one of them ends.
func (c *connection) pump(w *Wire, out net.Conn, in io.Reader) {
	var wg sync.WaitGroup
	for _, d := range []direction{{w, c, in, out, c.from, c.to.ID()}, {w, c, out, c.in, c.to.ID(), c.from}} {
		queue := make(chan chunk, chunksMax)
		wg.Go(func() { d.read(queue) })
		wg.Go(func() { d.write(queue) })
	}
	<-c.done
	c.in.Close()
	out.Close()
	wg.Wait()
}

type chunk struct {
	at    time.Time
	bytes []byte
}

type direction struct {
	w        *Wire
	c        *connection
	src      io.Reader
	dst      io.Writer
	from, to uint64
}

func (d *direction) read(queue chan<- chunk) {
	defer close(queue)
	for {
		b := make([]byte, chunkMax)
		n, err := d.src.Read(b)
		if n > 0 {
			select {
			case queue <- chunk{time.Now(), b[:n]}:
			case <-d.c.done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (d *direction) write(queue <-chan chunk) {
	defer d.c.close()
	for {
		c, more := <-queue, true
		if c.bytes == nil {
			c.at, more = time.Now(), false // the end of the connection is delayed, too
		}
		if !d.wait(c.at) || !more {
			return
		}
		if _, err := d.dst.Write(c.bytes); err != nil {
			return
		}
	}
}

// wait waits until the time at which a piece must be forwarded. It returns false when the
// connection ends first.
func (d *direction) wait(at time.Time) bool {
	for {
		rule, changed := d.w.rule(d.from, d.to)
		if !rule.Drop {
			left := time.Until(at.Add(rule.Delay))
			if left <= 0 {
				return true
			}
			timer := time.NewTimer(left)
			select {
			case <-timer.C:
				return true
			case <-changed:
			case <-d.c.done:
				timer.Stop()
				return false
			}
			timer.Stop()
			continue
		}
		select {
		case <-changed:
		case <-d.c.done:
			return false
		}
	}
}
