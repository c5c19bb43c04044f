package hostile

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/protoadapt"

	"cairn/internal/v3lockpb"
	"cairn/test/grpctest"
)

// The slow-reader matrix: the request × what the client does with the response × the number of such
// connections.
var (
	behaviors = []string{"does not read", "1 byte per s", "resets", "half-closes"}
	requests  = []struct {
		name string
		send func(x *target, t *testing.T) (net.Conn, error)
	}{
		{"unary", grpcRequest(rangePath, &etcdserverpb.RangeRequest{Key: []byte("/big/0001")}, true)},
		{"list", grpcRequest(rangePath, &etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, true)},
		{"stream", grpcRequest("/etcdserverpb.KV/RangeStream", &etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, true)},
		{"watch", grpcRequest("/etcdserverpb.Watch/Watch", &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
			CreateRequest: &etcdserverpb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: 1},
		}}, false)},
		{"snapshot", grpcRequest("/etcdserverpb.Maintenance/Snapshot", &etcdserverpb.SnapshotRequest{}, true)},
		{"lease", grpcRequest("/etcdserverpb.Lease/LeaseKeepAlive", &etcdserverpb.LeaseKeepAliveRequest{ID: 1}, false)},
		{"lock", grpcRequest("/v3lockpb.Lock/Lock", &v3lockpb.LockRequest{Name: []byte("slow")}, true)},
		{"v2 get", httpRequest("GET /v2/keys/slow?recursive=true HTTP/1.1\r\nHost: a\r\n\r\n")},
		{"v2 poll", httpRequest("GET /v2/keys/slow?wait=true HTTP/1.1\r\nHost: a\r\n\r\n")},
		{"v2 stream", httpRequest("GET /v2/keys/?wait=true&recursive=true&stream=true HTTP/1.1\r\nHost: a\r\n\r\n")},
		{"v2 past", httpRequest("GET /v2/keys/?wait=true&recursive=true&stream=true&waitIndex=1 HTTP/1.1\r\nHost: a\r\n\r\n")},
		{"JSON", httpRequest("POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n{\"key\":\"AA==\",\"range_end\":\"AA==\"}")},
		{"JSON watch", httpRequest(fmt.Sprintf("POST /v3/watch HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(watchJSON), watchJSON))},
		{"websocket", httpRequest("GET /v3/watch HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + textFrame(watchJSON))},
		{"metrics", httpRequest("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")},
	}
)

// watchJSON watches all keys from the first revision on.
const watchJSON = `{"create_request":{"key":"AA==","range_end":"AA==","start_revision":"1"}}`

// textFrame returns a short message of a websocket's client (RFC 6455, 5.2). Its mask is zero.
func textFrame(text string) string {
	return string([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}) + text
}

func grpcRequest(path string, m any, end bool) func(x *target, t *testing.T) (net.Conn, error) {
	var message []byte
	switch m := m.(type) {
	case protoadapt.MessageV1:
		message = framed(0, encode(m))
	case protoadapt.MessageV2:
		message = grpctest.Message(m)
	}
	return func(x *target, t *testing.T) (net.Conn, error) {
		nc, err := net.Dial("tcp", x.server.Address())
		if err != nil {
			return nil, err
		}
		c := grpctest.RawOn(t, nc)
		_ = c.Framer.WriteSettings(window(windowMax))
		_ = c.Framer.WriteWindowUpdate(0, 1<<30)
		return nc, call(c, 1, end, path, message)
	}
}

func httpRequest(text string) func(x *target, t *testing.T) (net.Conn, error) {
	return func(x *target, _ *testing.T) (net.Conn, error) {
		nc, err := net.Dial("tcp", x.server.Address())
		if err == nil {
			_, err = io.WriteString(nc, text)
		}
		return nc, err
	}
}

// behave does with a connection what its client does after the request.
func behave(nc net.Conn, behavior string) {
	tcp := nc.(*net.TCPConn)
	switch behavior {
	case "1 byte per s":
		go func() {
			b := make([]byte, 1)
			for {
				if _, err := nc.Read(b); err != nil {
					return
				}
				time.Sleep(time.Second) // that is the attack
			}
		}()
	case "resets":
		_ = tcp.SetLinger(0)
		_ = nc.Close()
	case "half-closes":
		_ = tcp.CloseWrite()
	}
}

// openRate is how many connections an attack opens per second. Without a pace, opening 5,000 of
// them takes both processors of a small machine, which the attacker shares with the member here and
// not outside of a test: the good client would wait for the attacker.
const openRate = 1000

// matrixTimeMax is for how long cells begin. Those that would begin later are skipped, so that
// there is a table also on a slow machine.
const matrixTimeMax = 14 * time.Minute

// TestSlowReaders runs all cells of the matrix that the size of the run has, and logs them as a
// table.
func TestSlowReaders(t *testing.T) {
	x := newTarget(t)
	counts := []int{20}
	if full() || matrix() {
		counts = []int{1, 200, 5000}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "\n| %-10s | %-12s | %11s | %6s | %6s | %6s | %8s | %9s | %6s |\n|---|---|---|---|---|---|---|---|---|\n",
		"request", "client", "connections", "before", "peak", "after", "p99 rest", "p99 then", "times")
	above, begun := 0, time.Now()
	for _, conns := range counts {
		for _, r := range requests {
			for _, b := range behaviors {
				t.Run(fmt.Sprintf("%s/%s/%d", r.name, b, conns), func(t *testing.T) {
					if matrix() {
						if time.Since(begun) > matrixTimeMax {
							t.Skipf("the cells before took %v", matrixTimeMax)
						}
						x.awaitQuiet(t)
						x.rest.Took = nil // the machine may have become slower
						x.measureRest(t, 500*time.Millisecond)
					}
					m := x.attack(t, x.slow(r.send, b, conns))
					times := float64(m.p99) / float64(m.rest)
					if times > 3 {
						above++
					}
					fmt.Fprintf(&table, "| %-10s | %-12s | %11d | %3d MB | %3d MB | %3d MB | %5.1f ms | %6.1f ms | %6.1f |\n",
						r.name, b, conns, m.before>>20, m.peak>>20, m.after>>20, milliseconds(m.rest), milliseconds(m.p99), times)
				})
			}
		}
	}
	t.Logf("%d cells in which the good client's p99 is more than 3 times that at rest:%s", above, table.String())
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// slow sends a request on each of some connections, whose clients then behave as given.
func (x *target) slow(send func(x *target, t *testing.T) (net.Conn, error), behavior string, conns int) func(t *testing.T) (end func()) {
	return func(t *testing.T) func() {
		var open []net.Conn
		start := time.Now()
		for i := range conns {
			// that is the attack
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / openRate)))
			nc, err := send(x, t)
			if nc != nil {
				_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
				open = append(open, nc)
			}
			if err == nil { // else the member has refused it
				behave(nc, behavior)
			}
		}
		return func() {
			for _, nc := range open {
				_ = nc.Close()
			}
		}
	}
}
