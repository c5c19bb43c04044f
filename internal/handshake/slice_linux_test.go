package handshake

import (
	"crypto/tls"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// sliceOf returns the time slice of a thread, 0 for the calling one, and whether the kernel says.
func sliceOf(thread int) (slice uint64, ok bool) {
	var a schedAttr
	_, _, errno := syscall.RawSyscall6(sysGetAttr, uintptr(thread), uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a), 0, 0, 0)
	return a.slice, errno == 0 && a.slice != 0
}

// TestThreadSlice checks that a handshake computes on a thread with a long slice, and that no
// thread keeps it.
func TestThreadSlice(t *testing.T) {
	before, ok := sliceOf(0)
	if !ok {
		t.Skip("this kernel has no slices of threads")
	}
	serverTLS, clientTLS := certificate(t)
	during := make(chan uint64, 8)
	serverTLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		slice, _ := sliceOf(0)
		during <- slice
		return nil, nil //nolint:nilnil // the configuration stays
	}
	turns := newTurns(4)
	var both sync.WaitGroup
	defer both.Wait()
	for range cap(during) {
		server, client := dialed(t)
		both.Go(func() {
			if err := tls.Client(client, clientTLS).Handshake(); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			below := turns.Conn(server, nil)
			if err := below.Handshake(t.Context(), tls.Server(below, serverTLS)); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if slicesRefused.Load() {
		t.Skip("this process may not set slices of threads")
	}
	for range cap(during) {
		if slice := <-during; slice != turnSlice {
			t.Errorf("a handshake computes with a slice of %d ns, want %d", slice, uint64(turnSlice))
		}
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		if slice, ok := sliceOf(id); ok && slice != before { // a thread may have ended
			t.Errorf("thread %d is left with a slice of %d ns, want %d", id, slice, before)
		}
	}
}
