package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"cairn/cmd/bench/histogram"
)

// The watchers of a scenario share this number of streams, and those this number of connections.
const (
	watchConnections = 10
	watchStreams     = 100
)

// watchers are watches that the server has confirmed.
type watchers struct {
	*v3Conns
	streams []grpc.ClientStream
	cancel  context.CancelFunc
}

// openWatchers makes n watches, of the keys that key returns. It sends requests while it reads
// responses, since either side stops reading when it has too much to write.
func openWatchers(ctx context.Context, s settings, n int, key func(i int) []byte) (*watchers, error) {
	s.connections = watchConnections
	conns, err := dialV3(ctx, s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watchers{v3Conns: conns, cancel: cancel}
	var group sync.WaitGroup
	failed := make(chan error, 2*watchStreams)
	for at := range min(watchStreams, n) {
		stream, err := newWatchStream(ctx, conns.conns[at%len(conns.conns)])
		if err != nil {
			w.close()
			return nil, err
		}
		w.streams = append(w.streams, stream)
		wanted := 0
		for i := at; i < n; i += watchStreams {
			wanted++
		}
		group.Go(func() {
			for i := at; i < n; i += watchStreams {
				req := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: key(i)}}}
				if err := stream.SendMsg(req); err != nil {
					failed <- err
					return
				}
			}
		})
		group.Go(func() {
			for range wanted {
				var response rawResponse
				if err := stream.RecvMsg(&response); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		w.close()
		return nil, fmt.Errorf("create watches: %w", err)
	default:
		return w, nil
	}
}

// newWatchStream opens a watch stream that receives rawResponses.
func newWatchStream(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		pb.Watch_Watch_FullMethodName, grpc.ForceCodecV2(rawCodec{}))
}

func (w *watchers) close() {
	w.cancel()
	w.v3Conns.close()
}

// rawResponse is a WatchResponse of which only the events are decoded: decoding ten million whole
// responses would measure the client instead of the server.
type rawResponse struct {
	events int
	delays *histogram.Histogram // of each event, where it is not nil
}

// rawCodec encodes messages as usual, and decodes rawResponses.
type rawCodec struct{}

// Name implements encoding.CodecV2: the encoding is protobuf's.
func (rawCodec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

var errMalformedResponse = errors.New("watch: malformed response")

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	a := v.(*rawResponse)
	a.events = 0
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	now := time.Now().UnixNano()
	for b := buffer.ReadOnlyData(); len(b) > 0; {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMalformedResponse
		}
		b = b[n:]
		if num == 4 { // canceled
			return errors.New("watch: canceled by the server")
		}
		if num != 11 {
			if n = protowire.ConsumeFieldValue(num, kind, b); n < 0 {
				return errMalformedResponse
			}
			b = b[n:]
			continue
		}
		event, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return errMalformedResponse
		}
		b = b[n:]
		a.events++
		// The value is the last field of the key-value, which is the last of the event: its first
		// bytes are the time.
		if a.delays != nil && len(event) >= 8 {
			sent := int64(binary.BigEndian.Uint64(event[len(event)-8:]))
			a.delays.Record(time.Duration(now - sent))
		}
	}
	return nil
}

var (
	eventRate       = metric{"events", perSecond}
	eventP50        = metric{"delay, p50", formatMicros}
	eventP99        = metric{"delay, p99", formatMicros}
	cpuPerEvent     = metric{"CPU per event", formatMicros}
	bytesPerWatcher = metric{"RSS per watcher", formatBytes}
)

const (
	fanOutWatchers = 10_000
	idleWatchers   = 100_000
)

// fanOut puts one key puts times at a rate, with many watchers, and waits until every watcher has
// received every change. A delay counts from when the put was due, so that it includes the time
// that watchers delay a put.
func fanOut(puts int, rate float64) func(context.Context, *trial) (sample, error) {
	return func(ctx context.Context, t *trial) (sample, error) { return runFanOut(ctx, t, puts, rate) }
}

func runFanOut(ctx context.Context, t *trial, puts int, rate float64) (sample, error) {
	n := fanOutWatchers / t.scale.divisor
	key := []byte("/bench/watched")
	s := t.settings(putKind)
	w, err := openWatchers(ctx, s, n, func(int) []byte { return key })
	if err != nil {
		return nil, err
	}
	defer w.close()
	before, err := sampleProcess(t.server.pid())
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	receivers := &receiving{watchers: w, total: int64(n) * int64(puts)}
	receivers.start()
	if err := putTimes(ctx, w.kv(0), key, puts, rate); err != nil {
		return nil, err
	}
	delays, err := receivers.wait(ctx, s.patience)
	if err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := sampleProcess(t.server.pid())
	if err != nil {
		return nil, err
	}
	return sample{
		eventRate.name:   float64(receivers.total) / took.Seconds(),
		eventP50.name:    micros(delays.Quantile(0.5)),
		eventP99.name:    micros(delays.Quantile(0.99)),
		cpuPerEvent.name: micros(after.cpu()-before.cpu()) / float64(receivers.total),
		memoryPeak.name:  float64(after.rssPeak),
	}, nil
}

// putTimes puts, at the rate if the server is fast enough, the time at which each put was due.
func putTimes(ctx context.Context, kv pb.KVClient, key []byte, puts int, rate float64) error {
	begin := time.Now()
	for i := range puts {
		due := begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if !sleep(ctx, time.Until(due)) {
			return ctx.Err()
		}
		value := binary.BigEndian.AppendUint64(nil, uint64(due.UnixNano()))
		if _, err := kv.Put(ctx, &pb.PutRequest{Key: key, Value: value}); err != nil {
			return fmt.Errorf("put %d: %w", i, err)
		}
	}
	return nil
}

// receiving receives the events of all streams.
type receiving struct {
	*watchers
	total  int64
	events atomic.Int64
	done   chan error // one for each stream
	delays []histogram.Histogram
}

func (r *receiving) start() {
	r.done, r.delays = make(chan error, len(r.streams)), make([]histogram.Histogram, len(r.streams))
	for i, stream := range r.streams {
		share := r.total / int64(len(r.streams))
		go func() {
			response := rawResponse{delays: &r.delays[i]}
			for got := int64(0); got < share; got += int64(response.events) {
				if err := stream.RecvMsg(&response); err != nil {
					r.done <- err
					return
				}
				r.events.Add(int64(response.events))
			}
			r.done <- nil
		}()
	}
}

// wait returns the delays of all events once all have arrived.
func (r *receiving) wait(ctx context.Context, patience time.Duration) (*histogram.Histogram, error) {
	ticker := time.NewTicker(patience)
	defer ticker.Stop()
	seen := int64(-1)
	for range r.streams {
	again:
		select {
		case err := <-r.done:
			if err != nil {
				return nil, fmt.Errorf("watch: %w", err)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
			if now := r.events.Load(); now != seen {
				seen = now
				goto again
			}
			return nil, fmt.Errorf("%d of %d events arrived: %w", seen, r.total, errPatience)
		}
	}
	if got := r.events.Load(); got != r.total {
		return nil, fmt.Errorf("%d events arrived, want %d", got, r.total)
	}
	all := &histogram.Histogram{}
	for i := range r.delays {
		all.Merge(&r.delays[i])
	}
	return all, nil
}

// runIdle makes many watches, of different keys that do not change, and measures their cost.
func runIdle(ctx context.Context, t *trial) (sample, error) {
	n := idleWatchers / t.scale.divisor
	before, err := sampleProcess(t.server.pid())
	if err != nil {
		return nil, err
	}
	w, err := openWatchers(ctx, t.settings(putKind), n, func(i int) []byte { return fmt.Appendf(nil, "/bench/idle/%012d", i) })
	if err != nil {
		return nil, err
	}
	defer w.close()
	after, err := sampleProcess(t.server.pid())
	if err != nil {
		return nil, err
	}
	return sample{bytesPerWatcher.name: float64(after.rssBytes-before.rssBytes) / float64(n), memory.name: float64(after.rssBytes)}, nil
}
