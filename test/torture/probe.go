package main

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The interval of the prober's requests to each member, and their timeout, which exceeds the delays
// of slow connections.
const (
	probeEvery    = 20 * time.Millisecond
	probePatience = 2 * time.Second
)

// prober measures for how long no member serves. It sends linearizable reads to every member all
// the time: they need a leader and a majority, as writes do, and change nothing.
type prober struct {
	clients []*clientv3.Client

	mu    sync.Mutex
	last  time.Time     // guarded by mu: the last answer
	gaps  time.Duration // guarded by mu: all of them that were noticed
	worst time.Duration // guarded by mu: of the present fault
}

func (p *prober) run(ctx context.Context) {
	p.mark()
	var wg sync.WaitGroup
	for _, c := range p.clients {
		wg.Go(func() {
			for sleep(ctx, probeEvery) {
				asked, cancel := context.WithTimeout(ctx, probePatience)
				_, err := c.Get(asked, "probe", clientv3.WithCountOnly())
				cancel()
				if err == nil {
					p.mark()
				}
			}
		})
	}
	wg.Wait()
}

// noticed is the shortest gap that counts as an outage: shorter ones occur between two responses
// anyway.
const noticed = 150 * time.Millisecond

func (p *prober) mark() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if gap := now.Sub(p.last); !p.last.IsZero() && gap > noticed {
		p.gaps += gap
		p.worst = max(p.worst, gap)
	}
	p.last = now
}

// awaitAnswer waits for a response to a request that was sent after the call.
func (p *prober) awaitAnswer(ctx context.Context) {
	since := time.Now()
	for sleep(ctx, probeEvery) {
		p.mu.Lock()
		answered := p.last.After(since)
		p.mu.Unlock()
		if answered {
			return
		}
	}
}

// take returns the longest gap since the last call, and the sum of all gaps.
func (p *prober) take() (worst, sum time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	worst, sum = p.worst, p.gaps
	p.worst, p.gaps = 0, 0
	return worst, sum
}
