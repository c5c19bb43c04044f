package http2

import "sync"

const (
	// workersIdleMax is the maximum number of parked workers of a server. A parked worker costs its
	// stack, 8 to 32 KiB; the number covers a burst of requests on a hundred connections.
	workersIdleMax = 1024
	// scratchBytesMax is the largest scratch buffer that a worker keeps.
	scratchBytesMax = 4 * CopyBytesMax
)

// job is a worker's next task: serve a request, write a connection's output, or read on.
type job struct {
	handler Handler
	c       *Conn
	do      func(c *Conn, w *Worker)
}

// Worker is a goroutine that serves one request after another. A new goroutine starts with 8 KiB of
// stack, and a handler that decodes, proposes and encodes grows it several times, copying each
// time; a reused worker has the stack already.
type Worker struct {
	in chan job
	// Scratch is a buffer in which a handler encodes small responses.
	Scratch *Buffer
	// Data belongs to the protocol: state that it keeps per worker instead of per request.
	Data any
}

// TrimScratch replaces a scratch buffer that a large response has grown, so that a thousand parked
// workers do not hold a thousand large buffers.
func (w *Worker) TrimScratch() {
	if cap(w.Scratch.B) > scratchBytesMax {
		w.Scratch.Free()
		w.Scratch = NewBuffer(CopyBytesMax)
	}
}

// workerPool is a stack of parked workers: the last one that parked has the warmest cache.
type workerPool struct {
	mu      sync.Mutex // guards the fields below
	parked  []*Worker
	stopped bool
}

func newWorker() *Worker {
	return &Worker{in: make(chan job, 1), Scratch: NewBuffer(CopyBytesMax)}
}

// run passes j to a parked worker or starts one.
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

func (p *workerPool) work(w *Worker, j job) {
	for {
		if j.handler != nil {
			j.handler.Serve(w)
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

func (p *workerPool) park(w *Worker) bool {
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
