package http2

// A request whose handler needs only microseconds can run on the goroutine that reads the
// connection (Stream.Dispatch): no worker has to be woken, and the responses to all requests of one
// read are sent in one write. If such a handler has to wait after all, it first calls LeaveReader,
// or Done of its context, which does it: another goroutine then takes over the reading. The
// transfer is one compare-and-swap on Stream.inline:
//
//	inlineReading ─ LeaveReader ─► inlineLeft   a worker reads on
//	      └────────── return ────► inlineDone   this goroutine reads on
const (
	inlineNot int32 = iota
	inlineReading
	inlineLeft
	inlineDone
)

// LeaveReader transfers the reading of the connection to a worker if this stream's handler runs on
// the reader. Handlers call it before they block.
func (st *Stream) LeaveReader() {
	if st.inline.Load() != inlineReading || !st.inline.CompareAndSwap(inlineReading, inlineLeft) {
		return
	}
	st.conn.srv.workers.run(job{c: st.conn, do: func(c *Conn, w *Worker) {
		c.in.wrote = true // responses of earlier requests may be waiting in the output
		c.read(w)
	}})
}

// keepsReading ends an inline run and reports whether its goroutine still reads the connection.
func (st *Stream) keepsReading() bool {
	return st.inline.CompareAndSwap(inlineReading, inlineDone)
}
