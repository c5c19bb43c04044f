package peer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Header fields of a request between members (docs/formats/peer.md).
const (
	headerVersions  = "Cairn-Peer-Versions" // offered, separated by commas
	headerVersion   = "Cairn-Peer-Version"  // chosen
	headerCluster   = "X-Etcd-Cluster-Id"   // etcd's name; responses of /members have it, too
	headerFrom      = "Cairn-From"
	headerTo        = "Cairn-To"
	headerLane      = "Cairn-Lane"
	headerSnapshot  = "Cairn-Snapshot"
	headerOffset    = "Cairn-Snapshot-Offset"
	upgradeProtocol = "cairn-peer"

	pathStream = "/cairn/peer/stream"
	pathCall   = "/cairn/peer/call/"

	// protocolVersion is the only version so far.
	protocolVersion = "1"

	responseHeadMax = 64 << 10 // the head of the response to a handshake
	refusalBytesMax = 4 << 10
)

func formatID(id uint64) string { return fmt.Sprintf("%016x", id) }

func parseID(s string) (uint64, bool) {
	id, err := strconv.ParseUint(s, 16, 64)
	return id, err == nil && id != 0
}

// setHead sets the sender and the receiver of a request.
func (t *Transport) setHead(h http.Header, to uint64) {
	h.Set(headerVersions, protocolVersion)
	h.Set(headerCluster, formatID(t.cfg.ClusterID))
	h.Set(headerFrom, formatID(t.cfg.MemberID))
	h.Set(headerTo, formatID(to))
	h.Set(headerToken, t.identities.token(to))
}

// checkHead returns the member that sends a request, or the reason for a refusal. A refusal names
// neither the cluster nor this member.
func (t *Transport) checkHead(w http.ResponseWriter, r *http.Request) (from uint64, why *refusal) {
	if from, why = t.checkNames(r); why == nil {
		why = t.confirm(r, from)
	}
	if why != nil {
		return 0, why
	}
	t.welcome(r)
	w.Header().Set(headerVersion, protocolVersion)
	w.Header().Set(headerCluster, formatID(t.cfg.ClusterID))
	w.Header().Set(headerFrom, formatID(t.cfg.MemberID))
	return from, nil
}

func (t *Transport) checkNames(r *http.Request) (from uint64, why *refusal) {
	offered := strings.Split(r.Header.Get(headerVersions), ",")
	if !slices.ContainsFunc(offered, func(v string) bool { return strings.TrimSpace(v) == protocolVersion }) {
		return 0, versionMismatch(protocolVersion, shorten(r.Header.Get(headerVersions)))
	}
	cluster, ok1 := parseID(r.Header.Get(headerCluster))
	from, ok2 := parseID(r.Header.Get(headerFrom))
	to, ok3 := parseID(r.Header.Get(headerTo))
	switch {
	case !ok1 || !ok2 || !ok3:
		return 0, badRequest("the request does not name its sender and receiver: want the headers " + headerCluster + ", " + headerFrom + ", " + headerTo)
	case cluster != t.cfg.ClusterID:
		return 0, clusterMismatch(t.cfg.MemberID, t.cfg.ClusterID, from, cluster)
	case to != t.cfg.MemberID:
		return 0, wrongReceiver(t.cfg.MemberID, from, to)
	case from == t.cfg.MemberID:
		why = badRequest("the sender has the receiver's ID; two members have copies of one data directory")
		why.detail = fmt.Sprintf("another process has the ID %016x, as this one has; two members have copies of one data directory", from)
		return 0, why
	case t.cfg.Removed != nil && t.cfg.Removed(from):
		return 0, removedSender(from)
	}
	return from, nil
}

// shorten limits the length of remote texts in log lines.
func shorten(s string) string { return s[:min(len(s), 64)] }

// dialError is the error of a connection that could not be opened.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// dial connects to the address of a peer URL.
func (t *Transport) dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Limits.ConnectTimeout)
	defer cancel()
	conn, err := dialURL(ctx, u, t.cfg.LocalIP, t.cfg.TLS)
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}

func dialURL(ctx context.Context, u *url.URL, from netip.Addr, secure TLS) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(u.Scheme, "unix") {
		network = "unix"
	}
	conn, err := dialerFrom(network, from).DialContext(ctx, network, u.Host)
	if err != nil || (u.Scheme != "https" && u.Scheme != "unixs") {
		return conn, err
	}
	c := tls.Client(conn, clientTLS(secure, u.Hostname()))
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS handshake: %w", err), conn.Close())
	}
	return c, nil
}

// dialerFrom returns a dialer of connections from an address; the zero address leaves the choice to
// the system.
func dialerFrom(network string, from netip.Addr) *net.Dialer {
	if !from.IsValid() || network != "tcp" {
		return new(net.Dialer)
	}
	return &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
}

// clientTLS returns the configuration of a connection to a host. An upgrade needs HTTP/1.1.
func clientTLS(secure TLS, host string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if secure != nil {
		c = secure(host)
	}
	c.NextProtos = []string{"http/1.1"}
	return c
}

// upgrade dials a URL and requests a stream to a peer. The error is, or wraps, a *refusal when the
// peer refuses the stream.
func (t *Transport) upgrade(ctx context.Context, u *url.URL, to uint64, more func(http.Header)) (*link, http.Header, error) {
	conn, err := t.dial(ctx, u)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	l, head, err := t.handshake(conn, u, to, more)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return l, head, nil
}

func (t *Transport) handshake(conn net.Conn, u *url.URL, to uint64, more func(http.Header)) (*link, http.Header, error) {
	if err := conn.SetDeadline(time.Now().Add(t.cfg.Limits.ConnectTimeout)); err != nil {
		return nil, nil, err
	}
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: pathStream}, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {upgradeProtocol},
	}}
	t.setHead(req.Header, to)
	more(req.Header)
	if err := req.Write(conn); err != nil {
		return nil, nil, fmt.Errorf("request a stream: %w", err)
	}
	// Read the response through the reader of frames, which may buffer some of the frames behind
	// it.
	reader := &handshakeReader{conn: conn, timeout: t.cfg.Limits.DeadAfter, left: responseHeadMax}
	l := newLink(conn, reader, t.cfg.Limits.WriteTimeout, responseHeadMax)
	resp, err := http.ReadResponse(l.frames.r, req)
	if err != nil {
		return nil, nil, fmt.Errorf("request a stream: %w", unexpected(err))
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, nil, readRefusal(resp)
	}
	if err := t.checkResponse(resp.Header, to); err != nil {
		return nil, nil, err
	}
	reader.over = true
	return l, resp.Header, conn.SetDeadline(time.Time{})
}

// handshakeReader applies the limits of a handshake until it is complete, then those of the stream.
type handshakeReader struct {
	conn    net.Conn
	timeout time.Duration
	left    int
	over    bool
}

func (h *handshakeReader) Read(p []byte) (int, error) {
	if h.over {
		return readTimeoutConn{h.conn, h.timeout}.Read(p)
	}
	if h.left <= 0 {
		return 0, fmt.Errorf("the response has more than %d bytes", responseHeadMax)
	}
	n, err := h.conn.Read(p[:min(len(p), h.left)])
	h.left -= n
	return n, err
}

// readRefusal converts a response other than the upgrade to an error.
func readRefusal(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, refusalBytesMax))
	why := &refusal{}
	if err != nil || json.Unmarshal(body, why) != nil || why.Code == "" {
		return fmt.Errorf("not a peer port of cairn: it responds with %s", resp.Status)
	}
	why.Status = resp.StatusCode
	return why
}

// checkResponse checks the IDs in the response, in case the other member did not check the
// request's.
func (t *Transport) checkResponse(h http.Header, to uint64) error {
	if got := h.Get(headerCluster); got != formatID(t.cfg.ClusterID) {
		return fmt.Errorf("cluster ID mismatch: the peer belongs to cluster %q, this member to %016x", shorten(got), t.cfg.ClusterID)
	}
	if got := h.Get(headerFrom); got != formatID(to) {
		return fmt.Errorf("wrong member: the peer is member %q, not %016x", shorten(got), to)
	}
	if got := h.Get(headerVersion); got != protocolVersion {
		return fmt.Errorf("incompatible peer protocol: the peer chose version %q, this member uses %s", shorten(got), protocolVersion)
	}
	return nil
}
