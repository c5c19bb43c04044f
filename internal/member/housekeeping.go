package member

import "time"

// runHousekeeping looks once a second at what changes slowly.
func (m *Member) runHousekeeping() {
	defer m.wg.Done()
	defer m.space.reclaiming.Wait()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if err := m.dir.check(); err != nil {
			m.fail(err)
			return
		}
		m.checkSpace()
		m.promoteLearners()
		select {
		case <-ticker.C:
		case <-m.space.wake:
		case <-m.stopping:
			return
		case <-m.failed:
			return
		}
	}
}
