package keepalive

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/lease"
)

// The calls to the leader, as drawn in docs/formats/leases.md.
const (
	renewPath    = "lease/renew"
	deadlinePath = "lease/deadline"
)

// callLeasesMax is the maximum number of leases of a call.
const callLeasesMax = 1 << 16

// errBadCall refuses the bytes of a call.
var errBadCall = errors.New("malformed call")

// forwarded is a request that waits for a call to the leader.
type forwarded struct {
	ids      []kv.LeaseID
	ttls     []int64
	revision int64
	err      error
	done     chan struct{}
}

// forward renews leases by a call to the leader. Requests that arrive during a call share the next
// one.
func (r *Renewer) forward(ctx context.Context, ids []kv.LeaseID, ttls []int64) (revision int64, err error) {
	f := &forwarded{ids: ids, ttls: make([]int64, len(ids)), done: make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, f)
	start := !r.sending
	r.sending = true
	r.mu.Unlock()
	if start {
		go r.send()
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	copy(ttls, f.ttls)
	return f.revision, f.err
}

// send makes calls until no request waits.
func (r *Renewer) send() {
	for {
		r.mu.Lock()
		n, leases := 0, 0
		for n < len(r.waiting) && (n == 0 || leases+len(r.waiting[n].ids) <= callLeasesMax) {
			leases += len(r.waiting[n].ids)
			n++
		}
		batch := r.waiting[:n:n]
		if r.waiting = r.waiting[n:]; n == 0 {
			r.waiting, r.sending = nil, false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		err := r.call(batch)
		for _, f := range batch {
			if err != nil {
				f.err = ErrByCommand // correct whether or not the leader has renewed the leases
			}
			close(f.done)
		}
	}
}

// call makes a call for a batch of requests, and stores its results in them.
func (r *Renewer) call(batch []*forwarded) error {
	leader := r.o.Member.Leader()
	if leader == 0 || leader == r.o.ID {
		return errNoLeader
	}
	var body []byte
	for _, f := range batch {
		for _, id := range f.ids {
			body = binary.BigEndian.AppendUint64(body, uint64(id))
		}
	}
	ctx, cancel := context.WithTimeout(r.o.Running, r.o.CallTimeout)
	defer cancel()
	response, err := r.o.Calls.Call(ctx, leader, renewPath, body)
	if err != nil {
		return err
	}
	d := codec.NewReader(response)
	revision := int64(d.Uvarint())
	for _, f := range batch {
		f.revision = revision
		for i := range f.ttls {
			f.ttls[i] = int64(d.Uvarint())
		}
	}
	return d.End()
}

// serveRenew serves the call of a follower that renews leases.
func (r *Renewer) serveRenew(ctx context.Context, _ uint64, body []byte) ([]byte, error) {
	if len(body) == 0 || len(body)%8 != 0 || len(body) > 8*callLeasesMax {
		return nil, fmt.Errorf("%w: %d bytes", errBadCall, len(body))
	}
	ids := make([]kv.LeaseID, 0, len(body)/8)
	for ; len(body) > 0; body = body[8:] {
		ids = append(ids, kv.LeaseID(binary.BigEndian.Uint64(body)))
	}
	c := r.o.Member.Clock()
	if c == nil {
		return nil, errNoLeader
	}
	ttls := make([]int64, len(ids))
	revision, err := r.inMemory(ctx, c, ids, ttls)
	if err != nil {
		return nil, err
	}
	response := binary.AppendUvarint(make([]byte, 0, 10+2*len(ttls)), uint64(revision))
	for _, ttl := range ttls {
		response = binary.AppendUvarint(response, uint64(ttl))
	}
	return response, nil
}

// askDeadline returns how long a lease lives unless it is renewed, according to the leader.
func (r *Renewer) askDeadline(ctx context.Context, id kv.LeaseID) (left kv.ClusterTime, ok bool) {
	leader := r.o.Member.Leader()
	if leader == 0 || leader == r.o.ID {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.CallTimeout)
	defer cancel()
	response, err := r.o.Calls.Call(ctx, leader, deadlinePath, binary.BigEndian.AppendUint64(nil, uint64(id)))
	if err != nil {
		return 0, false
	}
	d := codec.NewReader(response)
	left = kv.ClusterTime(d.Uvarint())
	return left, d.End() == nil && left >= 0
}

// serveDeadline serves the call of a follower that shows a lease's remaining time to a client.
func (r *Renewer) serveDeadline(_ context.Context, _ uint64, body []byte) ([]byte, error) {
	if len(body) != 8 {
		return nil, fmt.Errorf("%w: %d bytes", errBadCall, len(body))
	}
	c := r.o.Member.Clock()
	if c == nil {
		return nil, errNoLeader
	}
	l, ok, err := lease.Get(r.o.Keys.Reading(), kv.LeaseID(binary.BigEndian.Uint64(body)))
	if err != nil {
		return nil, err
	}
	left := kv.ClusterTime(0)
	if ok {
		r.promises.Lead(c.Term(), c.Start())
		at, leads := r.promises.Deadline(c.Term(), &l)
		if !leads {
			return nil, errNoLeader
		}
		left = max(0, at-r.o.Member.At(c))
	}
	return binary.AppendUvarint(nil, uint64(left)), nil
}
