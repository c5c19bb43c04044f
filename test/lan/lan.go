// Package lan makes hosts out of network namespaces, with a network between them that loses, delays
// and blocks packets in one direction or both.
//
// It owns the namespaces and the switch. Every host has one device, whose other end this process
// holds; it reads packets there and puts them where they are addressed to. So no setting of the
// machine is touched, nothing is left behind by a process that is killed, and no kernel module is
// needed for loss and delay: they are those of netem, made here. It does not know what the hosts
// run.
//
// It needs the right to make namespaces and /dev/net/tun, which root has; New returns
// ErrNotPermitted without it.
//
// Concurrency: all methods may be called at the same time.
package lan

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotPermitted reports that this process may not make hosts.
var ErrNotPermitted = errors.New("network namespaces are not permitted here")

// Rule is applied to packets from one host to another.
type Rule struct {
	// Lose is the probability that a packet is lost, from 0 to 1.
	Lose float64
	// Delay is the time between the sending and the delivery of a packet.
	Delay time.Duration
}

// queueMax limits the packets in transit from one host to another. Further packets are
// lost.
const queueMax = 4096

// packetMax is the size of a receive buffer, larger than any packet.
const packetMax = 2048

// LAN is a network of hosts 1 to n, and of host 0, from which this process connects.
type LAN struct {
	hosts []*host
	done  chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex
	rules map[[2]int]Rule // guarded by mu
}

// New makes a network of n hosts. Its error wraps ErrNotPermitted where that is the reason.
func New(n int) (*LAN, error) {
	l := &LAN{done: make(chan struct{}), rules: map[[2]int]Rule{}}
	for i := range n + 1 {
		h, err := newHost(l.address(i))
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.hosts = append(l.hosts, h)
	}
	for i := range l.hosts {
		l.carry(i)
	}
	return l, nil
}

// own is the last part of host 0's address.
const own = 254

func (l *LAN) address(n int) net.IP {
	if n == 0 {
		n = own
	}
	return net.IPv4(10, 77, 0, byte(n)).To4()
}

// Address returns the IP address of a host.
func (l *LAN) Address(n int) string { return l.address(n).String() }

// Start starts a command on a host. With Pdeathsig it gets that signal when the network is closed.
func (l *LAN) Start(n int, cmd *exec.Cmd) error { return l.hosts[n].run(cmd.Start) }

// Dial connects from host 0.
func (l *LAN) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		c   net.Conn
		err error
	}
	done := make(chan result)
	go func() {
		// The thread stays locked, so that no other goroutine runs in the host's namespace.
		runtime.LockOSThread()
		var r result
		if r.err = unix.Setns(l.hosts[0].ns, unix.CLONE_NEWNET); r.err == nil {
			r.c, r.err = new(net.Dialer).DialContext(ctx, network, address)
		}
		done <- r
	}()
	r := <-done
	return r.c, r.err
}

// Set makes a rule for packets from one host to another. The zero Rule is none.
func (l *LAN) Set(from, to int, r Rule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules[[2]int{from, to}] = r
}

// Each makes a rule for packets between any two hosts but host 0.
func (l *LAN) Each(r Rule) {
	for from := 1; from < len(l.hosts); from++ {
		for to := 1; to < len(l.hosts); to++ {
			l.Set(from, to, r)
		}
	}
}

// Heal removes all rules.
func (l *LAN) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.rules)
}

func (l *LAN) rule(from, to int) Rule {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rules[[2]int{from, to}]
}

// Close closes the network and kills the processes that were started on its hosts.
func (l *LAN) Close() error {
	var errs []error
	close(l.done)
	for _, h := range l.hosts {
		errs = append(errs, h.close())
	}
	l.wg.Wait()
	return errors.Join(errs...)
}

type packet struct {
	due   time.Time
	bytes []byte
}

// carry forwards the packets that a host sends to their destinations.
func (l *LAN) carry(from int) {
	lanes := make([]chan packet, len(l.hosts))
	for to := range lanes {
		lanes[to] = make(chan packet, queueMax)
		l.wg.Go(func() { l.deliver(lanes[to], l.hosts[to]) })
	}
	l.wg.Go(func() {
		for {
			b := make([]byte, packetMax)
			n, err := l.hosts[from].device.Read(b)
			if err != nil {
				return // the network is closed
			}
			to, ok := l.destination(b[:n])
			if !ok {
				continue
			}
			r := l.rule(from, to)
			if r.Lose > 0 && rand.Float64() < r.Lose {
				continue
			}
			select {
			case lanes[to] <- packet{time.Now().Add(r.Delay), b[:n]}:
			default:
			}
		}
	})
}

// destination returns the host to which a packet of IPv4 is addressed.
func (l *LAN) destination(b []byte) (int, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return 0, false
	}
	for n := range l.hosts {
		if net.IP(b[16:20]).Equal(l.address(n)) {
			return n, true
		}
	}
	return 0, false
}

func (l *LAN) deliver(lane <-chan packet, to *host) {
	for {
		select {
		case p := <-lane:
			if left := time.Until(p.due); left > 0 {
				select {
				case <-time.After(left):
				case <-l.done:
					return
				}
			}
			_, _ = to.device.Write(p.bytes) // a device that takes no more loses packets, too
		case <-l.done:
			return
		}
	}
}

// host is a network namespace with its thread.
type host struct {
	ns     int // of the namespace
	device *os.File
	do     chan func()
}

func newHost(ip net.IP) (*host, error) {
	h := &host{ns: -1, do: make(chan func())}
	made := make(chan error)
	go func() {
		// Commands are killed when the thread that started them ends (PR_SET_PDEATHSIG), so one
		// thread starts all of them and stays.
		runtime.LockOSThread()
		err := h.enter(ip)
		made <- err
		if err != nil {
			return
		}
		for f := range h.do {
			f()
		}
	}()
	if err := <-made; err != nil {
		return nil, err
	}
	return h, nil
}

func (h *host) enter(ip net.IP) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%w: unshare: %w", ErrNotPermitted, err)
	}
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the namespace: %w", err)
	}
	h.ns = ns
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("%w: /dev/net/tun: %w", ErrNotPermitted, err)
	}
	device, err := unix.NewIfreq("lan0")
	if err != nil {
		return err
	}
	device.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, device); err != nil {
		return errors.Join(fmt.Errorf("%w: make a device: %w", ErrNotPermitted, err), unix.Close(fd))
	}
	h.device = os.NewFile(uintptr(fd), "/dev/net/tun")
	return errors.Join(up("lo", nil), up("lan0", ip))
}

// up gives a device of the thread's namespace an address, unless that is empty, and brings it up.
func up(name string, ip net.IP) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s) //nolint:errcheck // nothing was written
	set := func(request uint, fill func(*unix.Ifreq) error) error {
		r, err := unix.NewIfreq(name)
		if err == nil {
			err = fill(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, request, r)
		}
		if err != nil {
			err = fmt.Errorf("set up device %s: %w", name, err)
		}
		return err
	}
	if ip != nil {
		err := errors.Join(
			set(unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip) }),
			set(unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) }),
		)
		if err != nil {
			return err
		}
	}
	return set(unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil })
}

// run calls a function on the host's thread.
func (h *host) run(f func() error) error {
	done := make(chan error)
	h.do <- func() { done <- f() }
	return <-done
}

func (h *host) close() error {
	close(h.do)
	return errors.Join(h.device.Close(), unix.Close(h.ns))
}
