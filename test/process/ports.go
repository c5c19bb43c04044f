package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// The ports that FreeAddress chooses from are outside the range of ephemeral ports (from 32768 on),
// so that no outgoing connection takes one between two starts of a server.
const (
	firstPort = 22000
	portCount = 10000
)

// given are the addresses that FreeAddress has returned lately.
var given = struct {
	sync.Mutex
	addresses map[string]bool
}{addresses: map[string]bool{}}

// reserved are the ports that this process has reserved, until it ends.
var reserved = sync.OnceValues(func() (*reservations, error) {
	return openReservations(filepath.Join(os.TempDir(), fmt.Sprintf("cairn-test-ports-%d", os.Getuid())))
})

// FreeAddress returns an address on an IP address of this machine on which no process listens. It
// has not returned the address lately: the servers that a test starts later may not listen yet. The
// port is reserved until this process ends: no other process gets it from FreeAddress, also while
// the server that uses it is restarted.
func FreeAddress(ip string) (string, error) {
	first, err := FreePorts(ip, 1)
	return fmt.Sprintf("%s:%d", ip, first), err
}

// FreePorts is FreeAddress for n ports that follow each other, and returns the first one.
func FreePorts(ip string, n int) (first int, err error) {
	ports, err := reserved()
	if err != nil {
		return 0, err
	}
	given.Lock()
	defer given.Unlock()
	if len(given.addresses) > portCount/4 {
		clear(given.addresses)
	}
	for range 20000 {
		first = firstPort + rand.IntN(portCount-n)
		if shortIDs && n == 1 && !hasShortID(ip, fmt.Sprintf("%s:%d", ip, first)) {
			continue
		}
		if err = ports.take(ip, first, n); err == nil {
			return first, nil
		}
	}
	return 0, fmt.Errorf("find %d free ports on %s: %w", n, ip, err)
}

// take reserves n ports on which no process listens.
func (r *reservations) take(ip string, first, n int) error {
	var addresses []string
	for port := first; port < first+n; port++ {
		address := fmt.Sprintf("%s:%d", ip, port)
		if given.addresses[address] {
			return fmt.Errorf("%s is in use", address)
		}
		if err := r.reserve(port); err != nil {
			return err
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
		addresses = append(addresses, address)
	}
	for _, address := range addresses {
		given.addresses[address] = true
	}
	return nil
}

// reservations are locks of the bytes of a file that all processes of tests share: the byte at a
// port's number is locked by the process that has reserved the port. The system releases the locks
// when the process ends.
type reservations struct{ file *os.File }

// errReserved reports that another process has reserved a port.
var errReserved = errors.New("port is reserved by another process")

func openReservations(path string) (*reservations, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the reservations of ports: %w", err)
	}
	return &reservations{file}, nil
}

// reserve reserves a port, or returns errReserved. It succeeds for a port that r has reserved
// already.
func (r *reservations) reserve(port int) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(port), Len: 1}
	// A lock of the open file, not of the process: children do not inherit the file.
	err := unix.FcntlFlock(r.file.Fd(), unix.F_OFD_SETLK, &lock)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%d: %w", port, errReserved)
	}
	return err
}
