package member

import (
	"runtime"
	"time"
)

const (
	// yieldBusy is the time that a goroutine waits for its processor when others are runnable. When
	// none is, it gets the processor back within a microsecond.
	yieldBusy = 20 * time.Microsecond
	// yieldWorkMax limits the time of one piece of work: longer ones include a wait for the
	// processor.
	yieldWorkMax = time.Millisecond
)

// yielder lets long work in the background, such as reading the whole state, give way to requests.
// The work calls yield every 0.1 ms or so. While other goroutines wait for a processor it rests for
// as long as it has worked, and so gets up to half of one of them; otherwise it does not rest.
//
// A yielder belongs to one goroutine at a time.
type yielder struct {
	now     func() time.Duration
	resumed time.Duration // the end of the last yield; 0: none yet
}

// newYield returns the function that long work calls. now is the member's clock.
func newYield(now func() time.Duration) func() { return (&yielder{now: now}).yield }

// yield lets other goroutines run, and rests if there were any.
func (y *yielder) yield() {
	began := y.now()
	worked := min(began-y.resumed, yieldWorkMax)
	runtime.Gosched()
	if y.resumed > 0 && y.now()-began > yieldBusy {
		time.Sleep(worked)
	}
	y.resumed = y.now()
}
