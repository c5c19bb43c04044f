package h2grpc

import "sync"

// workersIdleMax is how many parked workers a server keeps. A parked one costs its stack,
// some 8–32 KiB; the number covers a burst of calls on a hundred connections.
const workersIdleMax = 1024

// job is what a worker does next: serve a call, write a connection's output, or read on.
type job struct {
	st *stream
	c  *conn
	do func(c *conn, w *worker)
}

// worker is a goroutine that serves one call after another. It exists because a fresh
// goroutine begins with 8 KiB of stack and a handler that decodes, proposes and encodes grows
// it several times, copying; a reused one has it already.
type worker struct {
	in  chan job
	cur *stream
	// dec is what generated handlers call to decode the request. One closure per worker
	// instead of one per call.
	dec func(any) error
	// scratch is where small answers are encoded.
	scratch *buffer
}

// keepScratch lets go of a scratch buffer that a large answer has grown and that nobody took
// over: a thousand parked workers would hold on to a thousand of them.
func (w *worker) keepScratch() {
	if cap(w.scratch.b) > scratchBytesMax {
		w.scratch.free()
		w.scratch = newBuffer(copyBytesMax)
	}
}

const scratchBytesMax = 4 * copyBytesMax

// workerPool is a stack of parked workers: the last one to park has the warmest cache.
type workerPool struct {
	mu      sync.Mutex // guards the fields below
	parked  []*worker
	stopped bool
}

func newWorker() *worker {
	w := &worker{in: make(chan job, 1), scratch: newBuffer(copyBytesMax)}
	w.dec = func(v any) error { return w.cur.decodeRequest(v) }
	return w
}

// run gives j to a parked worker or starts one.
func (p *workerPool) run(j job) {
	p.mu.Lock()
	if n := len(p.parked); n > 0 {
		w := p.parked[n-1]
		p.parked[n-1] = nil
		p.parked = p.parked[:n-1]
		p.mu.Unlock()
		w.in <- j
		return
	}
	p.mu.Unlock()
	go p.work(newWorker(), j)
}

func (p *workerPool) work(w *worker, j job) {
	for {
		if j.st != nil {
			j.st.serve(w)
		} else {
			j.do(j.c, w)
		}
		j = job{}
		if !p.park(w) {
			return
		}
		var ok bool
		if j, ok = <-w.in; !ok {
			return
		}
	}
}

func (p *workerPool) park(w *worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || len(p.parked) >= workersIdleMax {
		return false
	}
	p.parked = append(p.parked, w)
	return true
}

// stop ends the parked workers; busy ones end when they would park.
func (p *workerPool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for _, w := range p.parked {
		close(w.in)
	}
	p.parked = nil
}
