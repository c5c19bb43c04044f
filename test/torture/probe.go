package main

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The prober asks each member so often, and waits so long for its answer: longer than that takes
// where connections are slow.
const (
	probeEvery    = 20 * time.Millisecond
	probePatience = 2 * time.Second
)

// prober finds out for how long no member serves: each is asked all the time. It writes nothing:
// what it asks is a linearizable read, which takes a leader and a majority as a write does.
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

// noticed is from when on clients are said to have been without service: less passes between two
// answers as it is.
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

// awaitAnswer waits until somebody is served after now.
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

// take returns the longest gap since it was asked last, and the sum of all.
func (p *prober) take() (worst, sum time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	worst, sum = p.worst, p.gaps
	p.worst, p.gaps = 0, 0
	return worst, sum
}
