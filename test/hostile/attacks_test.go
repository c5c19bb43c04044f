package hostile

import (
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"cairn/test/grpctest"
)

// Each attack once exhausted a member's memory or processor.
func TestAttacks(t *testing.T) {
	x := newTarget(t)
	for _, a := range []struct {
		name string
		do   func(t *testing.T) (end func())
	}{
		{"lists that are not read, one connection", x.unread(1, 100, everything(false))},
		{"lists that are not read, many connections", x.unread(size(20, 50), 10, everything(false))},
		{"sorted lists", x.unread(size(4, 10), size(10, 100), everything(true))},
		{"responses below 64 kB that are not read", x.unread(2, size(2_000, 20_000), framed(0, encode(&etcdserverpb.RangeRequest{Key: []byte("/medium")})))},
		{"transactions that read everything", x.unreadTxns(size(2, 10), size(10, 100), readTxn)},
		{"transactions that delete nothing and read everything", x.unreadTxns(size(2, 10), size(5, 100), writeTxn)},
		{"counts at an old revision that are reset", x.oldCounts},
		{"headers by reference", x.headers},
		{"refusals that are not read", x.refusals},
		{"rapid reset of lists", x.rapidReset},
		{"zeros in gzip", x.gzip},
		{"requests that never end", x.unfinished},
		{"deep paths of v2", x.deepPaths},
		{"bodies of few bytes over HTTP/1", x.fewBytes},
		{"errors about 1 MB of input", x.badInput},
		{"idle connections", x.idle},
	} {
		t.Run(a.name, func(t *testing.T) { x.attack(t, a.do) })
	}
}

func closeAll(conns []*grpctest.RawClient) func() {
	return func() {
		for _, c := range conns {
			_ = c.Conn.Close()
		}
	}
}

// unread sends requests on each of some connections and prevents all responses from being sent.
func (x *target) unread(conns, requests int, request []byte) func(t *testing.T) (end func()) {
	return func(t *testing.T) func() {
		value := make([]byte, 60_000)
		setup := x.open(t, windowMax)
		if err := call(setup, 1, true, putPath, framed(0, encode(&etcdserverpb.PutRequest{Key: []byte("/medium"), Value: value}))); err != nil {
			t.Fatal(err)
		}
		setup.WantStatus(1, "0")
		all := []*grpctest.RawClient{setup}
		for range conns {
			c := x.open(t, 0)
			drain(c.Conn)
			all = append(all, c)
			for i := range requests {
				if call(c, uint32(2*i+1), true, rangePath, request) != nil {
					break
				}
			}
		}
		return closeAll(all)
	}
}

const txnPath = "/etcdserverpb.KV/Txn"

var everythingOp = &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestRange{
	RequestRange: &etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}},
}}

// readTxn reads all keys.
var readTxn = &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{everythingOp}}

// writeTxn reads all keys as part of a command in the log.
var writeTxn = &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{everythingOp, {
	Request: &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: []byte("/none")}},
}}}

// unreadTxns sends transactions on each of some connections and lets no response be sent.
func (x *target) unreadTxns(conns, requests int, txn *etcdserverpb.TxnRequest) func(t *testing.T) (end func()) {
	request := framed(0, encode(txn))
	return func(t *testing.T) func() {
		var all []*grpctest.RawClient
		for range conns {
			c := x.open(t, 0)
			drain(c.Conn)
			all = append(all, c)
			for i := range requests {
				if call(c, uint32(2*i+1), true, txnPath, request) != nil {
					break
				}
			}
		}
		return closeAll(all)
	}
}

// oldCounts asks how many keys there were at the first revision, which takes a walk, and cancels.
func (x *target) oldCounts(t *testing.T) (end func()) {
	count := framed(0, encode(&etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true, Revision: 2}))
	c := x.open(t, windowMax)
	drain(c.Conn)
	for i := range size(1_000, 10_000) {
		id := uint32(2*i + 1)
		if call(c, id, true, rangePath, count) != nil || c.Framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break
		}
	}
	return closeAll([]*grpctest.RawClient{c})
}

// headers opens streams whose header fields are one byte each on the wire: references to an entry
// of the compression table.
func (x *target) headers(t *testing.T) (end func()) {
	c := x.open(t, windowMax)
	drain(c.Conn)
	c.Headers(1, false, head(putPath)...)
	block := c.Block(head(putPath)...)
	first := c.Block("x", "") // enters the table; its next use is one byte
	again := c.Block("x", "")
	bomb := append(append([]byte{}, block...), []byte(strings.Repeat(string(again), 1850))...)
	_ = first
	for i := range size(4_000, 40_000) {
		h := http2.HeadersFrameParam{StreamID: uint32(2*i + 3), BlockFragment: bomb, EndHeaders: true}
		if c.Framer.WriteHeaders(h) != nil {
			break
		}
	}
	return closeAll([]*grpctest.RawClient{c})
}

// refusals calls a method with a long name that does not exist, and reads nothing.
func (x *target) refusals(t *testing.T) (end func()) {
	c := x.open(t, windowMax)
	var blk strings.Builder
	enc := hpack.NewEncoder(&blk)
	var once sync.Once
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for i := range size(2_000, 20_000) {
			blk.Reset()
			for j, kv := 0, head("/no.Service/"+strings.Repeat("m", 3000)); j < len(kv); j += 2 {
				_ = enc.WriteField(hpack.HeaderField{Name: kv[j], Value: kv[j+1]})
			}
			h := http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: []byte(blk.String()), EndHeaders: true, EndStream: true}
			if c.Framer.WriteHeaders(h) != nil {
				return // the member stops reading, and eventually closes
			}
		}
	}()
	return func() {
		once.Do(func() { _ = c.Conn.Close() })
		<-finished
	}
}

// rapidReset cancels each list right after the request.
func (x *target) rapidReset(t *testing.T) (end func()) {
	var conns []*grpctest.RawClient
	var wg sync.WaitGroup
	for range size(2, 10) {
		c := x.open(t, windowMax)
		drain(c.Conn)
		conns = append(conns, c)
		wg.Go(func() {
			for i := range size(2_000, 20_000) {
				id := uint32(2*i + 1)
				if call(c, id, true, rangePath, everything(false)) != nil || c.Framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		})
	}
	return func() {
		closeAll(conns)()
		wg.Wait()
	}
}

// gzip sends messages that are small on the wire and have the maximum size after inflating.
func (x *target) gzip(t *testing.T) (end func()) {
	bomb := zipped(encode(&etcdserverpb.PutRequest{Key: []byte("/zip"), Value: make([]byte, 2_000_000)}))
	var conns []*grpctest.RawClient
	var wg sync.WaitGroup
	for range 4 {
		c := x.open(t, windowMax)
		drain(c.Conn)
		conns = append(conns, c)
		wg.Go(func() {
			for i := range size(200, 20_000) {
				if call(c, uint32(2*i+1), true, putPath, bomb, "grpc-encoding", "gzip") != nil {
					return
				}
			}
		})
	}
	return func() {
		closeAll(conns)()
		wg.Wait()
	}
}

// unfinished sends all but the last byte of large requests.
func (x *target) unfinished(t *testing.T) (end func()) {
	request := framed(0, encode(&etcdserverpb.PutRequest{Key: []byte("/never"), Value: make([]byte, 1_000_000)}))
	var conns []*grpctest.RawClient
	for range size(10, 200) {
		c := x.open(t, windowMax)
		drain(c.Conn)
		conns = append(conns, c)
		for i := range size(20, 60) {
			if call(c, uint32(2*i+1), false, putPath, request[:len(request)-1]) != nil {
				break
			}
		}
	}
	return closeAll(conns)
}
