package member

// runWatches delivers published events to the watchers, so that the applier does not depend on
// their number.
func (h host) runWatches() {
	m := h.m
	defer m.wg.Done()
	for {
		select {
		case <-m.hub.Wake():
			m.hub.Dispatch()
		case <-m.stopping:
			return
		case <-m.failed:
			return
		}
	}
}
