package h2grpc

// A call that Options.Inline chose runs on the goroutine that reads the connection: no
// hand-over to a worker, no wake-up, and the answers to all requests of one read leave in one
// write. If such a call has to wait after all, another goroutine must take over the reading
// before. The change of hands is one compare-and-swap on stream.inline:
//
//	inlineReading ─── Done ──► inlineLeft   the reading has gone to a worker
//	      └───────── return ─► inlineDone   the goroutine reads on
const (
	inlineNot int32 = iota
	inlineReading
	inlineLeft
	inlineDone
)

// leaveReader gives the reading to a worker if this call holds it.
func (st *stream) leaveReader() {
	if st.inline.Load() != inlineReading || !st.inline.CompareAndSwap(inlineReading, inlineLeft) {
		return
	}
	st.conn.srv.workers.run(job{c: st.conn, do: func(c *conn, w *worker) {
		c.in.wrote = true // answers of calls before this one may be waiting
		c.read(w)
	}})
}
