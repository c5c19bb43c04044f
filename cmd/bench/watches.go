package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

var watchKind = workloadKind{
	name:    "watch",
	summary: "watches of -keys keys, one each, over -clients streams; with -hold they receive events afterwards",
	example: "bench watch -keys 1000000 -clients 1000 -connections 100 -hold",
	defaults: func(s *settings) {
		s.connections, s.clients = 100, 1000
	},
	flags:  holdFlag,
	finite: true,
	total:  func(s settings) int { return s.keys },
	open: func(ctx context.Context, s settings, k *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		if err != nil {
			return nil, err
		}
		// The streams outlive the call that opens them.
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		w := &watchWorkload{v3Conns: conns, keys: k, cancel: cancel}
		for i := range s.clients {
			if err := w.openStream(ctx, i); err != nil {
				w.close()
				return nil, fmt.Errorf("open stream %d: %w", i, err)
			}
		}
		return w, nil
	},
}

func holdFlag(s *settings, flags *flag.FlagSet) {
	flags.BoolVar(&s.hold, "hold", false, "after the report, keep what was opened until interrupted")
}

// watchWorkload has a stream for each client, and a goroutine that reads it.
type watchWorkload struct {
	*v3Conns
	keys    *keyspace
	streams []*watchStream
	cancel  context.CancelFunc
	readers sync.WaitGroup
	events  atomic.Int64
}

type watchStream struct {
	grpc.ClientStream
	created chan struct{} // a response without events: a watch was created
	ended   chan struct{} // closed once reading has failed with err
	err     error
}

func (w *watchWorkload) openStream(ctx context.Context, i int) error {
	stream, err := newWatchStream(ctx, w.conns[i%len(w.conns)])
	if err != nil {
		return err
	}
	s := &watchStream{ClientStream: stream, created: make(chan struct{}, 1), ended: make(chan struct{})}
	w.streams = append(w.streams, s)
	w.readers.Go(func() {
		defer close(s.ended)
		for s.err == nil {
			var response rawResponse
			switch s.err = s.RecvMsg(&response); {
			case s.err != nil:
			case response.events > 0:
				w.events.Add(int64(response.events))
			default:
				select {
				case s.created <- struct{}{}:
				default:
					s.err = errors.New("watch: a response that answers no request")
				}
			}
		}
	})
	return nil
}

func (w *watchWorkload) kinds() []string { return []string{"watch"} }

func (w *watchWorkload) client(i int) request {
	s := w.streams[i]
	var key []byte
	create := &pb.WatchCreateRequest{}
	message := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}
	return func(ctx context.Context, ticket uint64) (int, error) {
		key = w.keys.appendKey(key[:0], int(ticket%uint64(w.keys.keys)))
		create.Key = key
		if err := s.SendMsg(message); err != nil {
			return 0, err
		}
		select {
		case <-s.created:
			return 0, nil
		case <-s.ended:
			return 0, s.err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (w *watchWorkload) counters() map[string]int64 {
	return map[string]int64{"events": w.events.Load()}
}

func (w *watchWorkload) close() {
	w.cancel()
	w.v3Conns.close()
	w.readers.Wait()
}
