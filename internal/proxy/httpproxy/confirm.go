package httpproxy

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// leaderCheck delays writes after a member has failed, until another one confirms that the cluster
// has a leader. Without it, the write after the one that failed with the member would be forwarded
// to the lost leader, and fail as well.
type leaderCheck struct {
	needed atomic.Bool
	mu     sync.Mutex // held while members are asked
}

const (
	leaderCheckMax   = 10 * time.Second // after which writes are sent without a confirmation
	leaderCheckPause = 50 * time.Millisecond
)

// awaitLeader returns when a member has confirmed that the cluster has a leader, if a member has
// failed since the last time.
func (p *Proxy) awaitLeader(ctx context.Context) {
	if !p.leader.needed.Load() {
		return
	}
	p.leader.mu.Lock()
	defer p.leader.mu.Unlock()
	if !p.leader.needed.Swap(false) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaderCheckMax)
	defer cancel()
	for {
		members := p.members.attempts()
		for e := members.next(); e != nil; e = members.next() {
			if p.isHealthy(ctx, e) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(leaderCheckPause):
		}
	}
}

// isHealthy reports whether a member serves linearizable reads, which /health tries.
func (p *Proxy) isHealthy(ctx context.Context, e *endpoint) bool {
	c, err := p.connect(ctx, e)
	if err != nil {
		p.members.exclude(e, err)
		return false
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	r := c.reader()
	defer freeReader(r)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://x/health", http.NoBody)
	if err == nil {
		err = c.send([]byte("GET /health HTTP/1.1\r\nHost: " + e.address + "\r\n\r\n"))
	}
	var resp *http.Response
	if err == nil {
		resp, err = readResponse(r, request)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, copyBytes))
	}
	if err != nil || resp.Close || r.Buffered() > 0 {
		c.Close()
	} else {
		e.idle.put(c)
	}
	return err == nil && resp.StatusCode == http.StatusOK
}
