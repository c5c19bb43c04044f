package member

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// pendingBatches are the proposed entries whose requests wait for results, by the batch number in
// the entry's header.
type pendingBatches struct {
	mu      sync.Mutex
	batches map[uint64]pendingBatch
	closed  error // result of requests after close
}

type pendingBatch struct {
	term      uint64 // in which it was proposed
	at        time.Duration
	proposals []*proposal
	// mayBeApplied reports that a snapshot was installed that may contain the batch.
	mayBeApplied bool
}

// add registers the requests of a batch that was proposed in a term, at a time of the member's
// clock. After close it fails the requests and reports false.
func (p *pendingBatches) add(batch, term uint64, at time.Duration, proposals []*proposal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		for _, pr := range proposals {
			pr.finish(p.closed)
		}
		return false
	}
	p.batches[batch] = pendingBatch{term: term, at: at, proposals: proposals}
	return true
}

// remove returns the requests of a batch with the given number of commands, nil when there are
// none. A batch of another size stays: the entry that names it is not the one that was proposed.
func (p *pendingBatches) remove(batch uint64, commands int) (_ []*proposal, sameSize bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, ok := p.batches[batch]
	if !ok {
		return nil, true
	}
	if len(b.proposals) != commands {
		return nil, false
	}
	delete(p.batches, batch)
	return b.proposals, true
}

// young counts the batches that were proposed after a time: older ones may be lost.
func (p *pendingBatches) young(after time.Duration) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.batches {
		if b.at > after {
			n++
		}
	}
	return n
}

// outlived removes the batches that were proposed before a term of which an entry has been applied,
// and returns their requests in the order in which they were proposed: they have not been applied,
// and never will be (replica.ProposalTerm). It fails the requests that must not be proposed again:
// those of which a snapshot may have the result, and changes of the members, whose checks are made
// for each attempt.
func (p *pendingBatches) outlived(term uint64, err error) (lost []*proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, batch := range slices.Sorted(maps.Keys(p.batches)) {
		b := p.batches[batch]
		if b.term >= term {
			continue
		}
		delete(p.batches, batch)
		for _, pr := range b.proposals {
			if b.mayBeApplied || pr.change != nil {
				pr.finish(err)
			} else {
				lost = append(lost, pr)
			}
		}
	}
	return lost
}

// replaced records that a snapshot was installed whose last entry has a term. It fails the batches
// of earlier terms, whose results are unknown. Those of the term may be in the snapshot or after
// it.
func (p *pendingBatches) replaced(term uint64, err error) {
	p.drop(func(b pendingBatch) bool { return b.term < term }, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	for batch, b := range p.batches {
		if b.term == term {
			b.mayBeApplied = true
			p.batches[batch] = b
		}
	}
}

// expire fails the batches that were proposed before a time.
func (p *pendingBatches) expire(before time.Duration, err error) {
	p.drop(func(b pendingBatch) bool { return b.proposals[len(b.proposals)-1].since < before }, err)
}

// close fails all requests, and those that are added later with another error: these have not been
// proposed.
func (p *pendingBatches) close(err, later error) {
	p.mu.Lock()
	if p.closed == nil {
		p.closed = later
	}
	p.mu.Unlock()
	p.drop(func(pendingBatch) bool { return true }, err)
}

func (p *pendingBatches) drop(which func(pendingBatch) bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for batch, b := range p.batches {
		if which(b) {
			delete(p.batches, batch)
			for _, pr := range b.proposals {
				pr.finish(err)
			}
		}
	}
}
