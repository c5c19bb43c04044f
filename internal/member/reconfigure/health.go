package reconfigure

import "time"

// healthyAfter is how long a member must have been connected before a change relies on it, as in
// etcd.
const healthyAfter = 5 * time.Second

// checkAddition refuses another member while a voter is not connected. It refuses another voter
// also when the current ones could not reach a quorum together with one that is not running yet.
func (c *Changes) checkAddition(learner bool) error {
	voters, started := c.voters(0)
	quorum := (voters+1)/2 + 1
	// every cluster grows from one member
	if lone := started == 1 && voters == 1; !learner && started < quorum && !lone {
		return ErrNotEnoughStarted
	}
	if c.connected() < voters {
		return ErrUnhealthy
	}
	return nil
}

// checkRemoval refuses the removal of a voter when the others could not reach a quorum.
func (c *Changes) checkRemoval(id uint64) error {
	voters, started := c.voters(id)
	quorum := voters/2 + 1
	if started < quorum {
		return ErrNotEnoughStarted
	}
	// A member that is down does not contribute to the quorum.
	if c.active(id, 0) && c.connected()-1 < quorum {
		return ErrUnhealthy
	}
	return nil
}

// checkPromotion refuses a promotion when the started voters and the learner could not reach a
// quorum.
func (c *Changes) checkPromotion() error {
	voters, started := c.voters(0)
	if started+1 < (voters+1)/2+1 {
		return ErrNotEnoughStarted
	}
	return nil
}

// voters counts the voters except one, and how many of them have started.
func (c *Changes) voters(except uint64) (voters, started int) {
	for _, record := range c.o.Member.Members() {
		if record.Learner || record.ID == except {
			continue
		}
		voters++
		if record.Started() {
			started++
		}
	}
	return voters, started
}

// connected counts the voters that have been connected for healthyAfter, including this one.
func (c *Changes) connected() (n int) {
	for _, record := range c.o.Member.Members() {
		if !record.Learner && c.active(record.ID, healthyAfter) {
			n++
		}
	}
	return n
}

// active reports whether a member is this one, or has been connected for the given time.
func (c *Changes) active(id uint64, since time.Duration) bool {
	if id == c.o.ID {
		return true
	}
	at := c.o.Connections.ActiveSince(id)
	return !at.IsZero() && time.Since(at) >= since
}
