package v3diff

import (
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
)

// history returns all events from the oldest to a revision, as text.
func (p *pair) history(client etcdserverpb.WatchClient, head int64) (events []string) {
	p.t.Helper()
	from := int64(1)
	for {
		stream, err := client.Watch(p.ctx)
		if err != nil {
			p.t.Fatal(err)
		}
		err = stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
			CreateRequest: &etcdserverpb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: from, PrevKv: true},
		}})
		if err != nil {
			p.t.Fatal(err)
		}
		for last := int64(0); last < head; {
			resp, err := stream.Recv()
			if err != nil {
				p.t.Fatal(err)
			}
			if resp.CompactRevision > 0 {
				from = resp.CompactRevision
				break
			}
			for _, e := range resp.Events {
				last = e.Kv.ModRevision
				events = append(events, prototext.Format(e))
			}
			if last == head {
				if err := stream.CloseSend(); err != nil {
					p.t.Fatal(err)
				}
				return events
			}
		}
	}
}

// FuzzRequests compares random requests of random seeds. The store continues from one seed to the
// next, since a restart would take most of the time: a difference is reported with the request that
// shows it.
func FuzzRequests(f *testing.F) {
	p := startPair(f)
	p.same("KV/Compact", &etcdserverpb.CompactionRequest{Revision: p.revision()})
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		p.t = t
		p.play(seed, 200)
	})
}
