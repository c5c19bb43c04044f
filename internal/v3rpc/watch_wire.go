package v3rpc

import (
	"slices"

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

// appendEvent appends an Event. Its length is known before it is encoded, so that a long value is
// copied once: thousands of watches that read history each encode what they read.
func appendEvent(dst []byte, e *watch.Event, prevKV bool) []byte {
	prevKV = prevKV && hasPrev(e)
	// of a tombstone: key and mod revision
	kvBytes := sizeKeyValue(e.Key, e.Record.Value, &e.Record)
	n := 1 + protowire.SizeBytes(kvBytes)
	if e.Type == kv.EventDelete {
		n += 2
	}
	if prevKV {
		n += 1 + protowire.SizeBytes(sizeKeyValue(e.Key, e.Prev.Value, &e.Prev))
	}
	dst = slices.Grow(dst, 1+protowire.SizeBytes(n))
	dst = protowire.AppendVarint(append(dst, 11<<3|byte(protowire.BytesType)), uint64(n))
	if e.Type == kv.EventDelete {
		dst = append(dst, 1<<3, 1)
	}
	dst = appendKeyValue(dst, 2, e.Key, &e.Record, false)
	if prevKV {
		dst = appendKeyValue(dst, 3, e.Key, &e.Prev, false)
	}
	return dst
}
