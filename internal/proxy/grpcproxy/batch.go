package grpcproxy

import (
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// batch is the events of one response of the cluster, which all watchers of a group share. They are
// encoded once for each combination of filters.
type batch struct {
	header *pb.ResponseHeader
	events []*mvccpb.Event

	bytes int // about how many a response has

	head    encoded // the header's field
	encoded [variants]encoded
}

// encoded is a part of a response that is encoded when it is first sent.
type encoded struct {
	once  sync.Once
	bytes []byte
}

// variants is the number of combinations of filters.
const variants = 4

// variant returns the number of the watcher's combination of filters.
func (wr *watcher) variant() (v int) {
	if wr.noPuts {
		v |= 1
	}
	if wr.noDeletions {
		v |= 2
	}
	return v
}

func (b *batch) first() int64 { return b.events[0].Kv.ModRevision }

func (b *batch) last() int64 { return b.events[len(b.events)-1].Kv.ModRevision }

// size returns about how many bytes a response has.
func (b *batch) size() int { return b.bytes }

// join returns a batch with the events of a response of the cluster after those of b, which may be
// nil and must not have been delivered.
func (b *batch) join(h *pb.ResponseHeader, events []*mvccpb.Event) *batch {
	if b == nil {
		b = &batch{bytes: 64}
	}
	b.header = h
	if b.events == nil {
		b.events = events
	} else {
		b.events = append(b.events, events...)
	}
	for _, e := range events {
		b.bytes += 32 + len(e.Kv.Key) + len(e.Kv.Value)
		if e.PrevKv != nil {
			b.bytes += 32 + len(e.PrevKv.Key) + len(e.PrevKv.Value)
		}
	}
	return b
}

// The fields of etcdserverpb.WatchResponse that have events.
const (
	fieldHeader   = 1
	fieldWatchID  = 2
	fieldFragment = 7
	fieldEvents   = 11
)

// fragmentBytesMax is the size above which a response is split into fragments, for watchers that
// accept them.
const fragmentBytesMax = 1536 << 10

// message is an encoded response to one watcher.
type message struct {
	head     []byte // the header's field
	id       int64
	fragment bool
	events   [][]byte // the events' fields
}

// AppendWire implements grpcserver.WireAppender.
func (m *message) AppendWire(b []byte) ([]byte, error) {
	b = append(b, m.head...)
	if m.id != 0 {
		b = protowire.AppendTag(b, fieldWatchID, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(m.id))
	}
	if m.fragment {
		b = protowire.AppendTag(b, fieldFragment, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	for _, events := range m.events {
		b = append(b, events...)
	}
	return b, nil
}

// SizeWire implements grpcserver.WireSizer.
func (m *message) SizeWire() int {
	n := len(m.head) + 16
	for _, events := range m.events {
		n += len(events)
	}
	return n
}

// encode returns the fields of the events that a combination of filters does not exclude.
func (b *batch) encode(variant int) []byte {
	e := &b.encoded[variant]
	e.once.Do(func() {
		wr := watcher{noPuts: variant&1 != 0, noDeletions: variant&2 != 0}
		for _, event := range b.events {
			if wr.wants(event) {
				e.bytes = appendEvent(e.bytes, event)
			}
		}
	})
	return e.bytes
}

func (b *batch) encodedHead() []byte {
	b.head.once.Do(func() { b.head.bytes = appendMessage(nil, fieldHeader, b.header) })
	return b.head.bytes
}

// fragments encodes the events from a revision on for a single watcher.
func (b *batch) fragments(wr *watcher, from int64) (list []*message) {
	head := b.encodedHead()
	var events []byte
	for _, e := range b.events {
		if e.Kv.ModRevision < from || !wr.wants(e) {
			continue
		}
		if wr.fragment && len(events) > 0 && len(events)+proto.Size(e) > fragmentBytesMax {
			list = append(list, &message{head: head, id: wr.id, fragment: true, events: [][]byte{events}})
			events = nil
		}
		events = appendEvent(events, e)
	}
	if len(events) > 0 {
		list = append(list, &message{head: head, id: wr.id, events: [][]byte{events}})
	}
	return list
}

func (wr *watcher) wants(e *mvccpb.Event) bool {
	if e.Type == mvccpb.Event_DELETE {
		return !wr.noDeletions
	}
	return !wr.noPuts
}

func appendEvent(b []byte, e *mvccpb.Event) []byte { return appendMessage(b, fieldEvents, e) }

// appendMessage appends a field that is a message. Encoding a message that was decoded before
// cannot fail.
func appendMessage(b []byte, field protowire.Number, m proto.Message) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(proto.Size(m)))
	b, _ = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	return b
}
