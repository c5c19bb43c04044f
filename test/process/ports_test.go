package process

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"cairn/internal/membership"
)

// TestFreeAddress: the address can be used, and is not chosen again meanwhile.
func TestFreeAddress(t *testing.T) {
	address, err := FreeAddress("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	first, err := FreePorts("127.0.0.1", 6)
	if err != nil {
		t.Fatal(err)
	}
	for port := first; port < first+6; port++ {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	if _, err := FreeAddress("192.0.2.1"); err == nil {
		t.Error("found an address on an IP address that this machine does not have")
	}
}

// TestReserve: a port that one process has reserved is refused to another one until the first has
// ended. Two open files are to the system what two processes are.
func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ports")
	open := func() *reservations {
		r, err := openReservations(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.file.Close() })
		return r
	}
	one, other := open(), open()
	for range 2 {
		if err := one.reserve(firstPort); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.reserve(firstPort); !errors.Is(err, errReserved) {
		t.Errorf("reserved by two: %v", err)
	}
	if err := other.reserve(firstPort + 1); err != nil {
		t.Errorf("another port: %v", err)
	}
	one.file.Close()
	if err := other.reserve(firstPort); err != nil {
		t.Errorf("a port whose process has ended: %v", err)
	}
}

// TestShortIDs: the addresses for short IDs give them, by membership's own function.
func TestShortIDs(t *testing.T) {
	for _, c := range []struct{ ip, token string }{{"127.0.0.1", "etcd-cluster"}, {"127.1.2.3", FleetToken}} {
		short := 0
		for port := firstPort; port < firstPort+portCount; port++ {
			address := fmt.Sprintf("%s:%d", c.ip, port)
			want := membership.MemberID([]string{"http://" + address}, c.token) < 1<<60
			if got := hasShortID(c.ip, address); got != want {
				t.Fatalf("%s has a short ID: %t, want %t", address, got, want)
			}
			if want {
				short++
			}
		}
		if short < portCount/20 {
			t.Errorf("%d ports of %s give short IDs, want about 1 in 16 of %d", short, c.ip, portCount)
		}
	}
}
