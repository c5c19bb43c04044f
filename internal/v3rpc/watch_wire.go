package v3rpc

import (
	"google.golang.org/protobuf/encoding/protowire"

	"cairn/internal/http2"
	"cairn/internal/kv"
	"cairn/internal/watch"
)

// watchResponse is a WatchResponse.
type watchResponse struct {
	header   header
	id       int64
	created  bool
	canceled bool
	compact  int64
	reason   string
	fragment bool
	events   []*watch.Event
	prevKV   bool // the events have it
	// charge has what was taken from the account for encodings, and is not used yet.
	charge *int64
}

// TakeCharge implements grpcserver.WireCharged.
func (r *watchResponse) TakeCharge(size int) int64 {
	if r.charge == nil || *r.charge < int64(size) {
		return http2.NotTaken
	}
	*r.charge -= int64(size)
	return int64(size)
}

// SizeWire implements grpcserver.WireSizer.
func (r *watchResponse) SizeWire() int {
	n := 96 + len(r.reason)
	for _, e := range r.events {
		n += eventSize(e, r.prevKV)
	}
	return n
}

// AppendWire implements grpcserver.WireAppender.
func (r *watchResponse) AppendWire(dst []byte) ([]byte, error) {
	dst = r.header.append(dst)
	dst = appendNumber(dst, 2, uint64(r.id))
	if r.created {
		dst = append(dst, 3<<3, 1)
	}
	if r.canceled {
		dst = append(dst, 4<<3, 1)
	}
	dst = appendNumber(dst, 5, uint64(r.compact))
	dst = appendBytes(dst, 6, []byte(r.reason))
	if r.fragment {
		dst = append(dst, 7<<3, 1)
	}
	for _, e := range r.events {
		if r.prevKV {
			dst = append(dst, e.Wire(watch.WireV3WithPrev, eventWithPrev)...)
		} else {
			dst = append(dst, e.Wire(watch.WireV3, eventAlone)...)
		}
	}
	return dst, nil
}

// eventSize returns an upper bound of the size of an event in a response.
func eventSize(e *watch.Event, prevKV bool) int {
	const facts = 80 // tags, lengths, and numbers of 64 bits
	n := facts + len(e.Key) + len(e.Record.Value)
	if prevKV && hasPrev(e) {
		n += facts + len(e.Key) + len(e.Prev.Value)
	}
	return n
}

// hasPrev reports whether an event has a prev_kv: as in etcd not one that has been compacted.
func hasPrev(e *watch.Event) bool { return !e.Prev.Mod.IsZero() && !e.Prev.Deleted && !e.PrevGone }

// eventAlone appends an Event without prev_kv, as field 11 of the response.
func eventAlone(dst []byte, e *watch.Event) []byte { return appendEvent(dst, e, false) }

// eventWithPrev appends an Event with prev_kv.
func eventWithPrev(dst []byte, e *watch.Event) []byte { return appendEvent(dst, e, true) }

func appendEvent(dst []byte, e *watch.Event, prevKV bool) []byte {
	inner := make([]byte, 0, eventSize(e, prevKV))
	if e.Type == kv.EventDelete {
		inner = append(inner, 1<<3, 1)
	}
	// of a tombstone: key and mod revision
	inner = appendKeyValue(inner, 2, e.Key, &e.Record, false)
	if prevKV && hasPrev(e) {
		inner = appendKeyValue(inner, 3, e.Key, &e.Prev, false)
	}
	return protowire.AppendBytes(append(dst, 11<<3|byte(protowire.BytesType)), inner)
}
