package handshake

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// turnSlice is the time slice of a thread that computes a handshake, in nanoseconds. A thread that
// wakes up takes the processor from one with a longer slice at once, and waits for the end of the
// slice of one with the same; the default is some 1.4 ms. Linux has slices of threads since 6.12,
// of at most 100 ms.
const turnSlice = 20e6

// The numbers of the system calls sched_setattr(2) and sched_getattr(2); 0 where they are not
// known. Package syscall lacks them, and layer 0 imports nothing but the standard library.
var (
	sysSetAttr = map[string]uintptr{"amd64": 314, "arm64": 274}[runtime.GOARCH]
	sysGetAttr = map[string]uintptr{"amd64": 315, "arm64": 275}[runtime.GOARCH]
)

// schedAttr is the kernel's struct sched_attr in its first version.
type schedAttr struct {
	size, policy uint32
	flags        uint64
	nice         int32
	priority     uint32
	slice        uint64 // of a thread with an ordinary policy, in nanoseconds; 0 before Linux 6.12
	_, _         uint64
}

// The policies whose threads have slices: SCHED_OTHER and SCHED_BATCH.
const (
	policyOther = 0
	policyBatch = 3
)

// slicesRefused is set when the kernel, or a filter of system calls, has refused a slice.
var slicesRefused atomic.Bool

// threadSlice lengthens the slice of the thread that computes a handshake. A longer slice neither
// needs privileges nor changes the thread's share of the processor.
type threadSlice struct {
	before schedAttr
	longer bool
}

// lengthen locks the goroutine to its thread, and gives the thread turnSlice, until restore.
func (s *threadSlice) lengthen() {
	if sysSetAttr == 0 || slicesRefused.Load() {
		return
	}
	runtime.LockOSThread()
	if s.longer = s.set(); !s.longer {
		slicesRefused.Store(true)
		runtime.UnlockOSThread()
	}
}

func (s *threadSlice) set() bool {
	_, _, errno := syscall.RawSyscall6(sysGetAttr, 0, uintptr(unsafe.Pointer(&s.before)), unsafe.Sizeof(s.before), 0, 0, 0)
	if errno != 0 || s.before.slice == 0 || s.before.policy != policyOther && s.before.policy != policyBatch {
		return false
	}
	attr := s.before
	attr.slice = max(attr.slice, turnSlice)
	return setAttr(&attr)
}

// restore returns the thread's slice from before lengthen.
func (s *threadSlice) restore() {
	if !s.longer {
		return
	}
	s.longer = false
	if setAttr(&s.before) {
		runtime.UnlockOSThread()
	}
	// otherwise the thread ends with the goroutine
}

func setAttr(a *schedAttr) bool {
	_, _, errno := syscall.RawSyscall(sysSetAttr, 0, uintptr(unsafe.Pointer(a)), 0)
	return errno == 0
}
