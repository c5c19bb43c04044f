// Package tcpproxy forwards TCP connections to the endpoints of a cluster: the proxy behind "etcd
// gateway start".
//
// It owns the choice of an endpoint and the connections. It does not parse the forwarded protocols:
// TLS is between the client and the member.
//
// # Choice of an endpoint
//
// Endpoints with the lowest priority number that are up are tried first. Among these, connections
// are distributed by weight; without weights, in turn. An endpoint that cannot be dialed is down
// until a probe, every RetryDelay, reaches it again. A connection is closed only when no endpoint
// can be dialed, including those that are down: a cluster that has just restarted is reached at
// once.
//
// # Forwarding
//
// On Linux a few event loops forward all connections, each on one goroutine (ADR 0024). Elsewhere,
// and for connections that are not TCP, each connection has two goroutines.
//
// Invariants: each direction of a connection ends separately: when a client has sent everything,
// the endpoint receives the end, and its response still reaches the client (TestHalfClosed). An
// error ends both directions (TestReset). Bytes are read only as fast as the receiver accepts them,
// and an idle connection has no buffer (TestSlowReceiver).
//
// Concurrency: Serve is called once; it returns when all goroutines that it has started have ended.
package tcpproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"cairn/internal/throttle"
)

// Limits of time.
const (
	// defaultDialTimeout is for connecting to one endpoint. It must be long enough for a SYN to be
	// sent a second time, which happens after a second.
	defaultDialTimeout = 3 * time.Second
	acceptPause        = 50 * time.Millisecond // after a failed accept, such as too many open files
	// unreachedInterval is the interval at which it is logged that no endpoint can be reached.
	unreachedInterval = 10 * time.Second
)

// Endpoint is a server that connections are forwarded to.
type Endpoint struct {
	Host     string // HOST:PORT
	Priority uint16 // lower numbers are used first
	Weight   uint16 // share among endpoints of one priority; 0 for all means "in turn"
}

// Options describe a proxy.
type Options struct {
	Endpoints  []Endpoint
	RetryDelay time.Duration // interval of probing endpoints that are down
	// how long connections may continue after the stop; the remaining ones are closed then
	DrainTimeout time.Duration
	Logger       *slog.Logger

	// Dial connects to an endpoint; nil means TCP with a time limit.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Random returns a number in [0, n); nil means math/rand.
	Random func(n int) int
}

// Proxy forwards connections.
type Proxy struct {
	Options
	picker *picker
	// of the log line about a client for which no endpoint can be reached
	unreached *throttle.Throttle
	loops     *loops // nil on systems without event loops
}

// New returns a proxy. It returns an error when there is no endpoint.
func New(o Options) (*Proxy, error) {
	switch {
	case len(o.Endpoints) == 0:
		return nil, errors.New("no endpoints")
	case o.RetryDelay <= 0:
		return nil, fmt.Errorf("retry delay is %v: want more than 0", o.RetryDelay)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: defaultDialTimeout}).DialContext
	}
	return &Proxy{Options: o, picker: newPicker(o.Endpoints, o.Random), unreached: throttle.New(unreachedInterval, time.Now)}, nil
}

// Serve accepts connections until ctx ends or the listener fails. Then it closes the listener,
// waits for open connections as long as DrainTimeout, and closes the rest.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	// ends when the remaining connections must be closed
	forced, force := context.WithCancel(context.WithoutCancel(ctx))
	defer force()
	var connections, probes sync.WaitGroup
	probing, stopProbing := context.WithCancel(ctx)
	probes.Go(func() { p.probe(probing) })
	defer probes.Wait()
	defer stopProbing()
	closeListener := context.AfterFunc(ctx, func() { l.Close() })
	defer closeListener()

	if loops, err := newLoops(); err == nil {
		p.loops = loops
		defer loops.close()
		closeAll := context.AfterFunc(forced, loops.force)
		defer closeAll()
	} else if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	err := p.accept(ctx, l, func(client net.Conn) {
		connections.Add(1)
		go p.forward(forced, client, connections.Done)
	})
	l.Close()
	p.drain(&connections, force)
	return err
}

// accept calls serve with each connection. It returns nil when ctx ends.
func (p *Proxy) accept(ctx context.Context, l net.Listener, serve func(net.Conn)) error {
	for {
		client, err := l.Accept()
		switch temporary := net.Error(nil); {
		case err == nil:
			serve(client)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case errors.As(err, &temporary):
			p.Logger.Warn("cannot accept a connection", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
		default:
			return err
		}
	}
}

// drain waits for the connections, and ends them with force after DrainTimeout.
func (p *Proxy) drain(connections *sync.WaitGroup, force context.CancelFunc) {
	ended := make(chan struct{})
	go func() { connections.Wait(); close(ended) }()
	select {
	case <-ended:
		return
	case <-time.After(p.DrainTimeout):
	}
	p.Logger.Info("closing connections that have not ended", "waited", p.DrainTimeout)
	force()
	<-ended
}

// forward connects a client with an endpoint, and calls done when both directions have ended.
func (p *Proxy) forward(ctx context.Context, client net.Conn, done func()) {
	server, err := p.connect(ctx)
	if err != nil {
		p.unreached.Warn(p.Logger, "", "no endpoint can be reached", "client", client.RemoteAddr().String(), "error", err)
		client.Close()
		done()
		return
	}
	if p.loops != nil && p.loops.forward(client, server, done) {
		return
	}
	defer done()
	defer client.Close()
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
	defer stop()
	var responses sync.WaitGroup
	responses.Go(func() { pass(client, server) })
	pass(server, client)
	responses.Wait()
}

// pass copies one direction. A proper end is passed on; after an error both connections are closed,
// since the missing bytes cannot be replaced.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from) // between two TCP connections the kernel moves the bytes (splice)
	half, ok := to.(interface{ CloseWrite() error })
	if err == nil && ok && half.CloseWrite() == nil {
		return
	}
	to.Close()
	from.Close()
}

// connect dials endpoints until one accepts.
func (p *Proxy) connect(ctx context.Context) (net.Conn, error) {
	var faults []error
	for tried := map[*remote]bool{}; ; {
		r := p.picker.pick(tried)
		if r == nil {
			return nil, errors.Join(faults...)
		}
		tried[r] = true
		conn, err := p.dial(ctx, r)
		if err == nil {
			return conn, nil
		}
		faults = append(faults, err)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// dial connects to an endpoint and records whether it is up.
func (p *Proxy) dial(ctx context.Context, r *remote) (net.Conn, error) {
	conn, err := p.Dial(ctx, "tcp", r.Host)
	if ctx.Err() == nil && p.picker.setDown(r, err != nil) {
		if err != nil {
			p.Logger.Warn("endpoint is down", "endpoint", r.Host, "error", err, "retry", p.RetryDelay)
		} else {
			p.Logger.Info("endpoint is up again", "endpoint", r.Host)
		}
	}
	return conn, err
}

// probe dials the endpoints that are down, every RetryDelay.
func (p *Proxy) probe(ctx context.Context) {
	ticker := time.NewTicker(p.RetryDelay)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, r := range p.picker.downs() {
			if conn, err := p.dial(ctx, r); err == nil {
				conn.Close()
			}
		}
	}
}
