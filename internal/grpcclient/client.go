package grpcclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Options configure a Client.
type Options struct {
	// Endpoints returns the members: HOST:PORT, a URL, or unix://PATH. It may change.
	Endpoints func() []string
	// TLS returns the configuration for a host; nil means no TLS.
	TLS func(host string) *tls.Config
	// Streams makes the calls with streams of generated clients.
	Streams grpc.ClientConnInterface

	MaxSendBytes, MaxRecvBytes int // of one message

	// IsSafe reports whether a call may be sent again although it may have been executed; nil means
	// never.
	IsSafe func(method string) bool
	// Confirm, if not nil, is called after a connection has broken, before the next call that is
	// not safe. It returns when the cluster serves again.
	Confirm func(ctx context.Context, c *Client) error

	KeepaliveTime, KeepaliveTimeout time.Duration // of pings; 0 means none
	// KeepaliveWithoutCalls sends pings also on connections without calls. A member that does not
	// permit these closes the connection.
	KeepaliveWithoutCalls bool
}

// Limits of time.
const (
	dialTimeout  = 3 * time.Second
	retryPause   = 100 * time.Millisecond // until a member that cannot be dialed is tried again
	repeatPause  = 50 * time.Millisecond  // until a call is sent again
	repeatMax    = 200                    // in total longer than an election
	confirmMax   = 10 * time.Second
	writeTimeout = 10 * time.Second // of one write to a member
	// avoidedFor is how long a member that could not serve a write is used only if no other has a
	// connection. A member that was removed from the cluster ends within that time.
	avoidedFor = time.Second
)

// Client makes calls.
type Client struct {
	opts Options
	ctx  context.Context // ends with Close
	end  context.CancelFunc

	mu      sync.Mutex // guards the fields below
	members map[string]*member
	turn    int
	changed chan struct{} // closed when a connection was made, or could not be made

	fault      sync.Mutex // held while Confirm runs
	unverified bool       // guarded by mu: a connection has broken since the last confirmation
}

// member is an endpoint.
type member struct {
	conn    *conn // nil if there is none
	dialing bool
	failed  time.Time // of the last attempt
	err     error
	avoided time.Time // until when
}

// New returns a client, which connects when calls are made.
func New(o Options) *Client {
	c := &Client{opts: o, members: map[string]*member{}, changed: make(chan struct{})}
	c.ctx, c.end = context.WithCancel(context.Background())
	return c
}

// Close closes the connections. Calls in progress fail.
func (c *Client) Close() {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if m.conn != nil {
			m.conn.nc.Close()
		}
	}
}

// Error is the error of a call.
type Error struct {
	status *status.Status
	unsent bool
}

// Error implements error.
func (e *Error) Error() string { return e.status.Err().Error() }

// GRPCStatus returns the status for a client.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// IsUnsent reports whether the call has certainly not been executed.
func (e *Error) IsUnsent() bool { return e.unsent }

func unavailable(unsent bool, format string, args ...any) *Error {
	return &Error{status.Newf(codes.Unavailable, format, args...), unsent}
}

// WireAppender is a request that is encoded already, or encodes itself.
type WireAppender interface {
	AppendWire(b []byte) ([]byte, error)
}

// WireOwner is a response that keeps the bytes it is given.
type WireOwner interface{ OwnWire(b []byte) }

// NewStream implements grpc.ClientConnInterface.
func (c *Client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.opts.Streams.NewStream(ctx, desc, method, opts...)
}

// Invoke implements grpc.ClientConnInterface. Of the options it uses grpc.Header and grpc.Trailer.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	message, err := encode(args)
	if err != nil {
		return err
	}
	if len(message)-prefixLen > c.opts.MaxSendBytes {
		return status.Errorf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", len(message)-prefixLen, c.opts.MaxSendBytes)
	}
	call, err := c.do(ctx, method, message)
	if call != nil {
		for _, o := range opts {
			switch o := o.(type) {
			case grpc.HeaderCallOption:
				*o.HeaderAddr = call.header
			case grpc.TrailerCallOption:
				*o.TrailerAddr = call.trailer
			}
		}
	}
	if err != nil {
		return err
	}
	switch r := reply.(type) {
	case WireOwner:
		r.OwnWire(call.message)
	case proto.Message:
		if err := proto.Unmarshal(call.message, r); err != nil {
			return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
		}
	default:
		return status.Errorf(codes.Internal, "grpc: %T is no protobuf message", reply)
	}
	return nil
}

// encode returns a request with its prefix.
func encode(v any) (b []byte, err error) {
	switch m := v.(type) {
	case WireAppender:
		b, err = m.AppendWire(make([]byte, prefixLen, 512))
	case proto.Message:
		b, err = proto.MarshalOptions{}.MarshalAppend(make([]byte, prefixLen, prefixLen+proto.Size(m)), m)
	default:
		err = fmt.Errorf("%T is no protobuf message", v)
	}
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	putPrefix(b)
	return b, nil
}

// do makes a call, and repeats it where that is harmless.
func (c *Client) do(ctx context.Context, method string, message []byte) (*call, error) {
	safe := c.opts.IsSafe != nil && c.opts.IsSafe(method)
	for n := 0; ; n++ {
		if !safe {
			if err := c.confirm(ctx); err != nil {
				return nil, err
			}
		}
		call, err := c.once(ctx, method, message, safe)
		if err == nil {
			return call, nil
		}
		again := err.unsent || safe && err.status.Code() == codes.Unavailable
		if !again || n == repeatMax {
			return call, err
		}
		select {
		case <-ctx.Done():
			return call, err
		case <-c.ctx.Done():
			return call, err
		case <-time.After(repeatPause):
		}
	}
}

// once makes a call to one member. If that could not serve a call that is not safe, such as a write
// for want of a leader, the next one goes to another member: one that has been removed from the
// cluster would fail it as well.
func (c *Client) once(ctx context.Context, method string, message []byte, safe bool) (*call, *Error) {
	conn, err := c.pick(ctx)
	if err != nil {
		return nil, err
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	call := newCall(message)
	if err := conn.begin(ctx, call, method, md); err != nil {
		return nil, err
	}
	select {
	case <-call.done:
	case <-ctx.Done():
		conn.cancel(call, &Error{status.FromContextError(ctx.Err()), false})
		<-call.done
	}
	if call.err != nil {
		if !safe && call.err.status.Code() == codes.Unavailable {
			c.avoid(conn)
		}
		return call, call.err
	}
	return call, nil
}

// avoid makes the next calls prefer other members than that of a connection.
func (c *Client) avoid(conn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if m.conn == conn {
			m.avoided = time.Now().Add(avoidedFor)
		}
	}
}

// confirm returns when the cluster has a leader, if a connection has broken since the last time.
func (c *Client) confirm(ctx context.Context) error {
	if c.opts.Confirm == nil {
		return nil
	}
	c.mu.Lock()
	unverified := c.unverified
	c.mu.Unlock()
	if !unverified {
		return nil
	}
	c.fault.Lock()
	defer c.fault.Unlock()
	c.mu.Lock()
	unverified, c.unverified = c.unverified, false
	c.mu.Unlock()
	if !unverified {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, confirmMax)
	defer cancel()
	if err := c.opts.Confirm(bounded, c); err != nil && ctx.Err() != nil {
		c.mu.Lock()
		c.unverified = true // for the next call
		c.mu.Unlock()
		return status.FromContextError(ctx.Err()).Err()
	}
	return nil // if it has failed, the call shows the reason
}

// pick returns a connection to the next member. It waits while connections are being made.
func (c *Client) pick(ctx context.Context) (*conn, *Error) {
	for {
		conn, changed, err := c.choose()
		if conn != nil || err != nil {
			return conn, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, &Error{status.FromContextError(ctx.Err()), true}
		case <-c.ctx.Done():
			return nil, unavailable(true, "grpc: the client connection is closing")
		}
	}
}

// choose returns a connection, an error when no member can be reached, or a channel that is closed
// when that may have changed.
func (c *Client) choose() (found *conn, changed chan struct{}, err *Error) {
	list := c.opts.Endpoints()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return nil, nil, unavailable(true, "grpc: the client connection is closing")
	}
	c.turn++
	waiting := false
	var avoided *conn
	var last error
	for i := range list {
		endpoint := list[(c.turn+i)%len(list)]
		m := c.members[endpoint]
		if m == nil {
			m = new(member)
			c.members[endpoint] = m
		}
		switch {
		case m.conn != nil && !m.avoided.IsZero() && time.Now().Before(m.avoided):
			if avoided == nil {
				avoided = m.conn
			}
		case m.conn != nil:
			if found == nil {
				found = m.conn
			}
		case m.dialing:
			waiting = true
		case time.Since(m.failed) > retryPause:
			m.dialing, waiting = true, true
			go c.connect(endpoint, m)
		default:
			last = m.err
		}
	}
	if len(c.members) > len(list) {
		c.forgetLocked(list)
	}
	switch {
	case found != nil:
		return found, nil, nil
	case avoided != nil:
		return avoided, nil, nil
	case waiting:
		return nil, c.changed, nil
	case last == nil:
		last = errors.New("no endpoints")
	}
	return nil, nil, unavailable(true, "connection error: desc = \"transport: %v\"", last)
}

// forgetLocked closes the connections to endpoints that are no longer in the list.
func (c *Client) forgetLocked(list []string) {
	current := map[string]bool{}
	for _, e := range list {
		current[e] = true
	}
	for e, m := range c.members {
		if !current[e] && !m.dialing {
			if m.conn != nil {
				m.conn.drain()
			}
			delete(c.members, e)
		}
	}
}

// connect dials a member.
func (c *Client) connect(endpoint string, m *member) {
	conn, err := c.dial(endpoint)
	c.mu.Lock()
	defer c.mu.Unlock()
	m.dialing, m.conn, m.err = false, conn, err
	if err != nil {
		m.failed = time.Now()
	} else if c.ctx.Err() != nil {
		conn.nc.Close()
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// lost is called when a connection must not be used for further calls. broken means that calls in
// progress have failed.
func (c *Client) lost(gone *conn, broken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if m.conn == gone {
			m.conn = nil
		}
	}
	c.unverified = c.unverified || broken
}

// target splits an endpoint.
func target(endpoint string) (network, address, host string, secure bool) {
	network, address = "tcp", endpoint
	for _, s := range []struct {
		scheme, network string
		secure          bool
	}{{"http://", "tcp", false}, {"https://", "tcp", true}, {"unix://", "unix", false}, {"unixs://", "unix", true}} {
		if len(endpoint) > len(s.scheme) && endpoint[:len(s.scheme)] == s.scheme {
			network, address, secure = s.network, endpoint[len(s.scheme):], s.secure
		}
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return network, address, host, secure
}

func (c *Client) dial(endpoint string) (*conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
	defer cancel()
	network, address, host, secure := target(endpoint)
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("Error while dialing: %w", err) //nolint:staticcheck // grpc-go's text
	}
	if config := c.opts.TLS; config != nil || secure {
		o := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
		if config != nil {
			o = config(host)
		}
		o.NextProtos = []string{"h2"}
		t := tls.Client(nc, o)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("authentication handshake failed: %w", err)
		}
		nc = t
	}
	authority := address
	if network == "unix" {
		authority = "localhost"
	}
	conn, err := newConn(c, nc, authority, secure || c.opts.TLS != nil)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return conn, nil
}
