package handshake

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// waitMax is the limit of the wait for a turn. It is shorter than the time that clients wait for a
// connection (5 s in etcd's client): a later turn would be spent on a client that has given up.
const waitMax = 3 * time.Second

// ErrBusy is the error of a handshake that got no turn in time.
var ErrBusy = errors.New("too many TLS handshakes at the same time")

// Turns are the turns of handshakes.
type Turns struct {
	limit   int
	waitMax time.Duration

	mu    sync.Mutex // guards the fields below
	taken int
	hosts map[netip.Addr]*queue // of addresses with waiting handshakes
	order []*queue              // the same, the next one first
}

// queue has the waiting handshakes of one address.
type queue struct {
	host netip.Addr
	// Those that have begun come first: a turn has been spent on each of them already.
	begun, fresh []*waiter
}

// waiter is a handshake that waits for a turn.
type waiter struct {
	turn      chan struct{} // closed when the turn is the waiter's
	abandoned bool          // guarded by Turns.mu
}

// NewTurns returns the turns of a server: half of the processors, and at least one.
func NewTurns() *Turns { return newTurns(max(1, runtime.GOMAXPROCS(0)/2)) }

func newTurns(limit int) *Turns {
	return &Turns{limit: limit, waitMax: waitMax, hosts: map[netip.Addr]*queue{}}
}

// take waits for a turn. It returns ErrBusy after waitMax, and ctx's error when ctx ends first.
func (t *Turns) take(ctx context.Context, host netip.Addr, begun bool) error {
	t.mu.Lock()
	if t.taken < t.limit {
		t.taken++
		t.mu.Unlock()
		return nil
	}
	w := &waiter{turn: make(chan struct{})}
	t.enqueueLocked(w, host, begun)
	t.mu.Unlock()
	timer := time.NewTimer(t.waitMax)
	defer timer.Stop()
	var err error
	select {
	case <-w.turn:
		// Go runs a goroutine that was woken before all others of its processor; requests that can
		// continue go first.
		runtime.Gosched()
		return nil
	case <-timer.C:
		err = ErrBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-w.turn: // meanwhile
		t.giveLocked()
	default:
		w.abandoned = true
	}
	return err
}

func (t *Turns) enqueueLocked(w *waiter, host netip.Addr, begun bool) {
	q := t.hosts[host]
	if q == nil {
		q = &queue{host: host}
		t.hosts[host] = q
		t.order = append(t.order, q)
	}
	if begun {
		q.begun = append(q.begun, w)
	} else {
		q.fresh = append(q.fresh, w)
	}
}

// restMax limits the rest after a turn during which the process was stopped.
const restMax = 10 * time.Millisecond

// restOf returns how long a turn rests before the next handshake takes it: as long as it was taken.
// When the processors are busy, a turn takes longer, and so does its rest: the busier they are, the
// less of their time handshakes get.
func restOf(taken time.Duration) time.Duration {
	return min(taken, restMax)
}

// giveAfter returns a turn after a rest.
func (t *Turns) giveAfter(rest time.Duration) { time.AfterFunc(rest, t.give) }

// give returns a turn.
func (t *Turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.giveLocked()
}

// giveLocked passes a turn to the next waiter, or makes it free.
func (t *Turns) giveLocked() {
	for len(t.order) > 0 {
		q := t.order[0]
		t.order = t.order[1:]
		w := q.next()
		if w != nil {
			t.order = append(t.order, q) // behind all other addresses
			close(w.turn)
			return
		}
		delete(t.hosts, q.host)
	}
	t.taken--
}

// next removes the first waiter that still waits, or returns nil.
func (q *queue) next() *waiter {
	for _, waiters := range []*[]*waiter{&q.begun, &q.fresh} {
		for len(*waiters) > 0 {
			w := (*waiters)[0]
			(*waiters)[0] = nil // the array lasts longer than the waiter
			if *waiters = (*waiters)[1:]; !w.abandoned {
				return w
			}
		}
	}
	return nil
}

// hostOf returns the address by which a client's handshakes take turns: its IP address, in IPv6 its
// network of 64 bits, which one client usually has for itself. All clients of a Unix socket have
// the same.
func hostOf(remote net.Addr) netip.Addr {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	host := tcp.AddrPort().Addr().Unmap().WithZone("")
	if host.Is4() {
		return host
	}
	network, err := host.Prefix(64)
	if err != nil {
		return host
	}
	return network.Addr()
}
