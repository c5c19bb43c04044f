package member

import "sync"

// leaderLost notifies waiters that the member has been without a leader for a long time.
type leaderLost struct {
	mu   sync.Mutex
	lost bool
	told chan struct{} // closed while there is no leader; made on first use
}

func (l *leaderLost) wait() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told == nil {
		l.told = make(chan struct{})
		if l.lost {
			close(l.told)
		}
	}
	return l.told
}

func (l *leaderLost) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lost && l.told != nil {
		close(l.told)
	}
	l.lost = true
}

// over records that there is a leader again.
func (l *leaderLost) over() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost {
		l.lost, l.told = false, nil
	}
}

// LeaderLost returns a channel that is closed when the member has been without a leader for three
// election timeouts.
func (m *Member) LeaderLost() <-chan struct{} { return m.leaderLost.wait() }
