package lease

import "cairn/internal/kv"

// promiseQueue is a heap of leases, the earliest first. A lease's place may be out of date: it is
// found and corrected when it comes first, so that a renewal need not move it.
type promiseQueue struct{ heap []queuedPromise }

type queuedPromise struct {
	at kv.ClusterTime
	id kv.LeaseID
}

func (q *promiseQueue) len() int { return len(q.heap) }

func (q *promiseQueue) first() queuedPromise { return q.heap[0] }

func (q *promiseQueue) push(e queuedPromise) {
	q.heap = append(q.heap, e)
	h := q.heap
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].at <= e.at {
			break
		}
		h[i], i = h[parent], parent
	}
	h[i] = e
}

func (q *promiseQueue) pop() queuedPromise {
	h := q.heap
	first, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	q.heap = h
	i := 0
	for child := 1; child < len(h); child = 2*i + 1 {
		if child+1 < len(h) && h[child+1].at < h[child].at {
			child++
		}
		if last.at <= h[child].at {
			break
		}
		h[i], i = h[child], child
	}
	if len(h) > 0 {
		h[i] = last
	}
	return first
}
