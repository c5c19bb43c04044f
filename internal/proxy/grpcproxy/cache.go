package grpcproxy

import (
	"container/list"
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Limits of the cache.
const (
	cachedMax      = 1024    // responses
	cachedBytesMax = 1 << 20 // of one response
	// after which a response is read again from the cluster, even without a change
	cachedAgeMax = 10 * time.Second
	requestedMax = 4096 // requests that have been received once
)

// cache has the responses to serializable reads. A read is cached when it is received the second
// time, since each cached response needs a watch that reports changes.
type cache struct {
	p *Proxy

	mu        sync.Mutex // guards the fields below
	entries   map[string]*cached
	order     *list.List          // of *cached, the most recently used one first
	requested map[string]struct{} // received once
}

// cached is a response.
type cached struct {
	request  string // encoded
	key, end string
	resp     *pb.RangeResponse // nil until it has been received
	read     time.Time
	place    *list.Element
	cancel   context.CancelFunc // of the watch
}

func newCache(p *Proxy) *cache {
	return &cache{p: p, entries: map[string]*cached{}, order: list.New(), requested: map[string]struct{}{}}
}

// read serves a serializable read.
func (c *cache) read(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	least := c.p.seen.by(ctx)
	// The cluster checks each time what a user may read.
	request := ""
	if !hasToken(ctx) {
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil {
			return nil, err
		}
		request = string(encoded)
		if resp := c.find(request, least); resp != nil {
			c.p.Metrics.hits.Inc()
			c.p.seen.note(ctx, resp.Header)
			return resp, nil
		}
	}
	c.p.Metrics.misses.Inc()
	resp, err := c.p.readRange(ctx, r)
	if err == nil && resp.Header.Revision < least {
		// the member is behind the revision that this client has seen from another one
		linearizable := proto.CloneOf(r)
		linearizable.Serializable = false
		resp, err = c.p.readRange(ctx, linearizable)
	}
	if err != nil {
		return nil, err
	}
	if request != "" {
		c.keep(request, r, resp)
	}
	c.p.seen.note(ctx, resp.Header)
	return resp, nil
}

func hasToken(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	return len(md["token"]) > 0 || len(md["authorization"]) > 0
}

// find returns the response to a request if it is at least as new as a revision.
func (c *cache) find(request string, least int64) *pb.RangeResponse {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[request]
	if e == nil || e.resp == nil || e.resp.Header.Revision < least || time.Since(e.read) > cachedAgeMax {
		return nil
	}
	c.order.MoveToFront(e.place)
	return e.resp
}

// keep caches a response if its request has been received before.
func (c *cache) keep(request string, r *pb.RangeRequest, resp *pb.RangeResponse) {
	if proto.Size(resp) > cachedBytesMax {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[request]; e != nil {
		if e.resp == nil || e.resp.Header.Revision <= resp.Header.Revision {
			// the watch starts before the read, so that it reports every change after this response
			e.resp, e.read = resp, time.Now()
		}
		return
	}
	if _, again := c.requested[request]; !again {
		if len(c.requested) >= requestedMax {
			clear(c.requested)
		}
		c.requested[request] = struct{}{}
		return
	}
	delete(c.requested, request)
	for c.order.Len() >= cachedMax {
		c.removeLocked(c.order.Back().Value.(*cached))
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &cached{request: request, key: string(r.Key), end: string(r.RangeEnd), resp: resp, read: time.Now(), cancel: cancel}
	c.entries[request], e.place = e, c.order.PushFront(e)
	c.p.Metrics.keys.Inc()
	go c.follow(ctx, e, resp.Header.Revision+1)
}

// follow drops the response at the first event of its range.
func (c *cache) follow(ctx context.Context, e *cached, revision int64) {
	defer e.cancel()
	opts := []clientv3.OpOption{clientv3.WithRev(revision)}
	if e.end != "" {
		opts = append(opts, clientv3.WithRange(e.end))
	}
	for r := range c.p.watcher.Watch(ctx, e.key, opts...) {
		if len(r.Events) > 0 || r.Err() != nil {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(e)
}

func (c *cache) removeLocked(e *cached) {
	if c.entries[e.request] != e {
		return
	}
	delete(c.entries, e.request)
	c.order.Remove(e.place)
	e.cancel()
	c.p.Metrics.keys.Dec()
}

// drop removes the cached responses that a write through this proxy changes, before the write is
// acknowledged.
func (c *cache) drop(key, end string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		if overlap(key, end, e.key, e.end) {
			c.removeLocked(e)
		}
	}
}

// dropTxn is drop for all writes of a transaction.
func (c *cache) dropTxn(r *pb.TxnRequest) {
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			switch op := op.Request.(type) {
			case *pb.RequestOp_RequestPut:
				c.drop(string(op.RequestPut.Key), "")
			case *pb.RequestOp_RequestDeleteRange:
				c.drop(string(op.RequestDeleteRange.Key), string(op.RequestDeleteRange.RangeEnd))
			case *pb.RequestOp_RequestTxn:
				c.dropTxn(op.RequestTxn)
			}
		}
	}
}

// overlap reports whether two ranges have a key in common. An empty end is one key, "\x00" is all
// keys from the first on.
func overlap(a, aEnd, b, bEnd string) bool {
	return startsBefore(a, b, bEnd) && startsBefore(b, a, aEnd)
}

// startsBefore reports whether a range that starts at a starts before the end of range b.
func startsBefore(a, b, bEnd string) bool {
	switch bEnd {
	case "":
		return a <= b
	case "\x00":
		return true
	}
	return a < bEnd
}
