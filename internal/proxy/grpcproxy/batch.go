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

	sizeOnce sync.Once
	bytes    int

	mu      sync.Mutex // guards the fields below
	head    []byte     // the header's field
	encoded [4][]byte  // the events' fields, by noPuts and noDeletions
	done    [4]bool
}

func (b *batch) last() int64 { return b.events[len(b.events)-1].Kv.ModRevision }

// size returns about how many bytes a response has.
func (b *batch) size() int {
	b.sizeOnce.Do(func() {
		b.bytes = 64
		for _, e := range b.events {
			b.bytes += 32 + len(e.Kv.Key) + len(e.Kv.Value)
			if e.PrevKv != nil {
				b.bytes += 32 + len(e.PrevKv.Key) + len(e.PrevKv.Value)
			}
		}
	})
	return b.bytes
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
	events   []byte // the events' fields
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
	return append(b, m.events...), nil
}

// SizeWire implements grpcserver.WireSizer.
func (m *message) SizeWire() int { return len(m.head) + 16 + len(m.events) }

// messages returns the responses to a watcher, of the events from a revision on.
func (b *batch) messages(wr *watcher, from int64) []*message {
	if from > b.events[0].Kv.ModRevision || wr.fragment && b.size() > fragmentBytesMax {
		return b.fragments(wr, from)
	}
	variant := 0
	if wr.noPuts {
		variant |= 1
	}
	if wr.noDeletions {
		variant |= 2
	}
	b.mu.Lock()
	if !b.done[variant] {
		b.done[variant] = true
		for _, e := range b.events {
			if wr.wants(e) {
				b.encoded[variant] = appendEvent(b.encoded[variant], e)
			}
		}
	}
	events := b.encoded[variant]
	head := b.headLocked()
	b.mu.Unlock()
	if len(events) == 0 {
		return nil
	}
	return []*message{{head: head, id: wr.id, events: events}}
}

// fragments encodes the events for a single watcher.
func (b *batch) fragments(wr *watcher, from int64) (list []*message) {
	b.mu.Lock()
	head := b.headLocked()
	b.mu.Unlock()
	var events []byte
	for _, e := range b.events {
		if e.Kv.ModRevision < from || !wr.wants(e) {
			continue
		}
		if wr.fragment && len(events) > 0 && len(events)+proto.Size(e) > fragmentBytesMax {
			list = append(list, &message{head: head, id: wr.id, fragment: true, events: events})
			events = nil
		}
		events = appendEvent(events, e)
	}
	if len(events) > 0 {
		list = append(list, &message{head: head, id: wr.id, events: events})
	}
	return list
}

func (wr *watcher) wants(e *mvccpb.Event) bool {
	if e.Type == mvccpb.Event_DELETE {
		return !wr.noDeletions
	}
	return !wr.noPuts
}

func (b *batch) headLocked() []byte {
	if b.head == nil {
		b.head = appendMessage(nil, fieldHeader, b.header)
	}
	return b.head
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
