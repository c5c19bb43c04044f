package member

// runWatches brings what the applier publishes to the watchers, so that the applier
// need not, however many they are.
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
