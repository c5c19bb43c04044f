package member

import "time"

// runHousekeeping looks once a second at what changes slowly.
func (m *Member) runHousekeeping() {
	defer m.wg.Done()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		m.checkSpace()
		m.promoteLearners()
		select {
		case <-ticker.C:
		case <-m.stopping:
			return
		case <-m.failed:
			return
		}
	}
}

// checkSpace compares the state's size with its quota. The limit lifts by itself
// when space is back.
func (m *Member) checkSpace() {
	if m.cfg.QuotaBytes <= 0 {
		return
	}
	size := m.StateBytes()
	over := size > m.cfg.QuotaBytes
	if m.noSpace.Swap(over) == over {
		return
	}
	if over {
		m.log.Warn("state outgrew its quota: writes that add data are refused until space is back",
			"bytes", size, "quota_bytes", m.cfg.QuotaBytes)
	} else {
		m.log.Info("state is below its quota again: writes are taken", "bytes", size, "quota_bytes", m.cfg.QuotaBytes)
	}
}

// CheckSpace returns ErrNoSpace when the state has outgrown its quota. Requests
// that add data ask it; deletes and compactions do not.
func (m *Member) CheckSpace() error {
	if m.noSpace.Load() {
		return ErrNoSpace
	}
	return nil
}
