package v3rpc

import (
	"context"
	"errors"
	"io"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"cairn/internal/auth"
	"cairn/internal/budget"
	"cairn/internal/kv"
	"cairn/internal/watch"
)

// watchService is etcdserverpb.Watch.
var watchService = grpc.ServiceDesc{
	ServiceName: etcdserverpb.Watch_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Metadata:    etcdserverpb.Watch_ServiceDesc.Metadata,
	Streams: []grpc.StreamDesc{
		{StreamName: "Watch", Handler: watchStream, ServerStreams: true, ClientStreams: true},
	},
}

const (
	watchProgressInterval = 10 * time.Minute
	// watchEventsBytes is the size at which a list of events is divided between two responses, if
	// it has several revisions.
	watchEventsBytes = 1 << 20
	// noWatch is the id in responses that are about no watch, or about all.
	noWatch = -1
)

// etcd's texts about watches that cannot be created.
const (
	reasonEmptyRange  = "mvcc: watcher range is empty"
	reasonDuplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
)

// watching is one Watch call. The goroutine of the handler sends all responses, so that they are in
// order; another goroutine receives.
type watching struct {
	*server
	out     batchStream
	in      *watch.Stream
	watches map[int64]*watchOf
	nextID  int64

	// the minimum revision of the response to a progress request; 0 if none was requested
	asked    int64
	auth     *auth.State // the state in which the watches are permitted
	notified int         // number of watches with progress notifications
	timer    *time.Timer
	reply    watchResponse

	account *budget.Account
	watched int64 // taken for watches
	slice   int64 // how many bytes of events to take next
	charge  int64 // taken for encodings of the events that are being sent
}

const (
	// sliceBytesMax limits how many bytes of events a stream takes at a time, from watch.SliceBytes
	// on; while they are sent, they and their encodings count in the client's account.
	sliceBytesMax = 1 << 20
	// watchBytes is what a watch takes besides its keys.
	watchBytes = 1 << 10
)

// watchOf is one watch.
type watchOf struct {
	id        int64
	w         *watch.Watcher
	prevKV    bool
	fragment  bool
	notify    bool // progress notifications were requested
	responded bool // a response was sent since the timer last fired

	keys  kv.KeyRange
	actor *auth.Actor // the watching user
}

// watchStream serves Watch.Watch.
func watchStream(srv any, stream grpc.ServerStream) error {
	s := srv.(*server)
	w := &watching{
		server: s, out: stream.(batchStream), in: s.member.Watches.Watches().NewStream(), watches: make(map[int64]*watchOf),
		account: budget.FromContext(stream.Context()), slice: watch.SliceBytes,
	}
	defer w.in.Close()
	err := w.serve()
	w.account.Give(w.watched)
	if w.timer != nil {
		w.timer.Stop()
	}
	switch {
	case errors.Is(err, watch.ErrClosed):
		return rpctypes.ErrGRPCStopped
	case errors.Is(stream.Context().Err(), context.Canceled):
		return rpctypes.ErrGRPCWatchCanceled
	default:
		return WireError(err)
	}
}

// receive forwards the client's requests; end gets the error that ends them. A client that closes
// its side of the stream, as curl and grpcurl do after the request of a command line, keeps
// watching.
func receive(stream grpc.ServerStream, requests chan<- *etcdserverpb.WatchRequest, end chan<- error) {
	for {
		req := new(etcdserverpb.WatchRequest)
		switch err := stream.RecvMsg(req); {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			end <- err
			return
		}
		select {
		case requests <- req:
		case <-stream.Context().Done():
			end <- stream.Context().Err()
			return
		}
	}
}

func (s *watching) serve() error {
	requests, end := make(chan *etcdserverpb.WatchRequest), make(chan error, 1)
	go receive(s.out, requests, end)
	var tick <-chan time.Time
	for {
		if s.timer != nil {
			tick = s.timer.C
		}
		var err error
		select {
		case req := <-requests:
			err = s.handle(req)
		case <-s.in.Wake():
			err = s.deliver()
		case <-tick:
			err = s.notify()
		case err = <-end:
		case <-s.out.Context().Done():
			err = s.out.Context().Err()
		case <-s.member.Watches.Watches().Closed():
			err = watch.ErrClosed
		}
		if err != nil {
			return err
		}
	}
}

func (s *watching) handle(req *etcdserverpb.WatchRequest) error {
	switch r := req.RequestUnion.(type) {
	case *etcdserverpb.WatchRequest_CreateRequest:
		if r.CreateRequest != nil {
			return s.create(r.CreateRequest)
		}
	case *etcdserverpb.WatchRequest_CancelRequest:
		if r.CancelRequest != nil {
			return s.cancel(r.CancelRequest.WatchId)
		}
	case *etcdserverpb.WatchRequest_ProgressRequest:
		s.asked = max(s.asked, s.member.Requests.Keys().Head().Revision)
		return s.sendProgress()
	}
	return nil // a request of a newer client: etcd ignores it
}

// create serves a create request. As in etcd an empty key means the first of all keys.
func (s *watching) create(req *etcdserverpb.WatchCreateRequest) error {
	rng := kv.KeyRange{Key: req.Key, End: req.RangeEnd}
	if len(rng.Key) == 0 {
		rng.Key = []byte{0}
	}
	id := req.WatchId
	switch {
	case req.StartRevision < 0:
		return s.refuse(rpctypes.ErrCompacted.Error())
	case rng.Empty():
		return s.refuse(reasonEmptyRange)
	case id == 0:
		id = s.freeID()
	case s.watches[id] != nil:
		return s.refuse(reasonDuplicateID)
	}
	if err := s.in.Room(rng); err != nil {
		return s.refuse("etcdserver: " + err.Error())
	}
	c, err := s.identify(s.out.Context())
	if err == nil {
		err = mayWatch(c.State, c.Actor, rng)
	}
	if err != nil {
		return s.refuse(WireError(err).Error())
	}
	n := bytesOf(rng)
	if !s.account.TryTake(n) {
		return s.refuse(rpctypes.ErrGRPCRequestTooManyRequests.Error())
	}
	s.watched += n
	if s.auth == nil {
		s.auth = c.State
	}
	o := &watchOf{id: id, prevKV: req.PrevKv, fragment: req.Fragment, notify: req.ProgressNotify, keys: rng, actor: c.Actor}
	var revision int64
	o.w, revision = s.in.Watch(watch.Spec{Range: rng, Start: req.StartRevision, Wants: wants(req.Filters), Owner: o})
	s.watches[id] = o
	if o.notify {
		if s.notified++; s.timer == nil {
			s.timer = time.NewTimer(s.cfg.WatchProgressInterval)
		}
	}
	return s.send(watchResponse{id: id, created: true}, revision)
}

// bytesOf returns what a watch of a range takes.
func bytesOf(r kv.KeyRange) int64 { return watchBytes + int64(len(r.Key)+len(r.End)) }

// freeID returns the next unused ID.
func (s *watching) freeID() int64 {
	for s.watches[s.nextID] != nil {
		s.nextID++
	}
	s.nextID++
	return s.nextID - 1
}

// refuse responds to a create request that is refused.
func (s *watching) refuse(reason string) error {
	return s.send(watchResponse{id: noWatch, created: true, canceled: true, reason: reason}, s.member.Requests.Keys().Head().Revision)
}

// cancel serves a cancel request; as in etcd there is no response if no watch has the ID.
func (s *watching) cancel(id int64) error {
	o := s.watches[id]
	if o == nil {
		return nil
	}
	s.in.Cancel(o.w)
	s.drop(o)
	return s.send(watchResponse{id: id, canceled: true}, s.member.Requests.Keys().Head().Revision)
}

func (s *watching) drop(o *watchOf) {
	delete(s.watches, o.id)
	if o.notify {
		s.notified--
	}
	n := bytesOf(o.keys)
	s.watched -= n
	s.account.Give(n)
}

// takeSlice takes memory for the next events and their encodings. It waits for the least that is
// needed; more is taken if it can be had at once.
func (s *watching) takeSlice() (bytes int64, err error) {
	least := s.expectation.Least()
	if s.slice = max(s.slice, least); s.account.TryTake(2 * s.slice) {
		return s.slice, nil
	}
	s.slice = least
	return s.slice, s.account.Take(s.out.Context(), 2*s.slice)
}

// take takes the next events. Reading history is a long read.
func (s *watching) take(bytes int) ([]watch.Delivery, error) {
	if s.in.Behind() {
		if err := s.account.BeginLong(s.out.Context()); err != nil {
			return nil, err
		}
		defer s.account.EndLong()
	}
	return s.in.TakeUpTo(bytes)
}

// deliver sends the events that the hub has for the watches.
func (s *watching) deliver() error {
	bytes, err := s.takeSlice()
	if err != nil {
		return err
	}
	deliveries, err := s.take(int(bytes))
	taken := int64(s.in.TakenBytes())
	s.expectation.Note(taken, bytes)
	held := taken
	s.charge = held
	if held > bytes { // a single revision
		s.account.Force(2 * (held - bytes))
	} else {
		s.account.Give(2 * (bytes - held))
	}
	s.slice = watch.SliceBytes
	if taken >= bytes {
		s.slice = min(2*bytes, sliceBytesMax)
	}
	defer func() {
		s.in.Done()
		s.account.Give(held + s.charge)
		s.charge = 0
	}()
	if err != nil {
		return err
	}
	return s.sendDeliveries(deliveries)
}

func (s *watching) sendDeliveries(deliveries []watch.Delivery) (err error) {
	if err := s.endForbidden(); err != nil {
		return err
	}
	began, sent := time.Now(), 0
	defer s.out.Flush()
	for _, d := range deliveries {
		o := d.Watcher.Owner().(*watchOf)
		if s.watches[o.id] != o {
			continue // it has just ended
		}
		sent += len(d.Events)
		if d.Compacted != 0 {
			s.drop(o)
			err = s.send(watchResponse{id: o.id, canceled: true, compact: d.Compacted}, s.member.Requests.Keys().Head().Revision)
		} else {
			err = s.sendEvents(o, d.Events)
		}
		if err != nil {
			return err
		}
	}
	if sent > 0 {
		seconds := time.Since(began).Seconds()
		s.meters.Watch.Events.Observe(seconds)
		s.meters.Watch.PerEvent.Observe(seconds / float64(sent))
	}
	return s.sendProgress()
}

// endForbidden cancels the watches that are no longer permitted after users or roles have changed.
// The events taken from the hub so far are older than the state that is checked.
func (s *watching) endForbidden() error {
	state := s.member.Requests.Gate().State()
	if state == s.auth {
		return nil
	}
	s.auth = state
	for _, o := range s.watches {
		err := mayWatch(state, o.actor, o.keys)
		if err == nil {
			continue
		}
		s.in.Cancel(o.w)
		s.drop(o)
		reply := watchResponse{id: o.id, canceled: true, reason: WireError(err).Error()}
		if err := s.send(reply, s.member.Requests.Keys().Head().Revision); err != nil {
			return err
		}
	}
	return nil
}

// sendEvents sends events to a watch: whole revisions in each response or, if the watch accepts it,
// fragments, of which all but the last are marked.
func (s *watching) sendEvents(o *watchOf, events []*watch.Event) error {
	o.responded = true
	revision := max(s.member.Requests.Keys().Head().Revision, events[len(events)-1].Revision())
	for len(events) > 0 {
		n, size := 0, 0
		for ; n < len(events); n++ {
			if size >= watchEventsBytes && events[n].Revision() != events[n-1].Revision() {
				break
			}
			size += eventSize(events[n], o.prevKV)
		}
		part := events[:n]
		for o.fragment && size > s.cfg.RequestBytesMax && len(part) > 1 {
			m, first := 1, eventSize(part[0], o.prevKV)
			for m < len(part) && first+eventSize(part[m], o.prevKV) <= s.cfg.RequestBytesMax {
				first += eventSize(part[m], o.prevKV)
				m++
			}
			if m == len(part) {
				break
			}
			if err := s.send(watchResponse{id: o.id, events: part[:m], prevKV: o.prevKV, fragment: true}, revision); err != nil {
				return err
			}
			part, size = part[m:], size-first
		}
		if err := s.send(watchResponse{id: o.id, events: part, prevKV: o.prevKV}, revision); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// sendProgress responds to a progress request once all watches have been sent the events before it.
// It is called again after each delivery until then.
func (s *watching) sendProgress() error {
	if s.asked == 0 {
		return nil
	}
	revision, ok := s.in.Synced(s.asked)
	if !ok {
		return nil
	}
	s.asked = 0
	return s.send(watchResponse{id: noWatch}, revision)
}

// notify sends a progress notification to the watches that requested it and had no response for an
// interval.
func (s *watching) notify() error {
	s.timer.Reset(s.cfg.WatchProgressInterval)
	if s.notified == 0 {
		return nil
	}
	for _, o := range s.watches {
		if !o.notify {
			continue
		}
		if responded := o.responded; responded {
			o.responded = false
			continue
		}
		revision, ok := o.w.Synced()
		if !ok {
			continue
		}
		if err := s.send(watchResponse{id: o.id}, revision); err != nil {
			return err
		}
	}
	return nil
}

func (s *watching) send(r watchResponse, revision int64) error {
	s.reply = r
	s.reply.header, s.reply.charge = s.header(revision), &s.charge
	if len(r.events) > 0 {
		return s.out.SendMore(&s.reply) // sendDeliveries flushes, and measures the whole delivery
	}
	began := time.Now()
	err := s.out.SendMsg(&s.reply)
	seconds := time.Since(began).Seconds()
	if r.created || r.canceled {
		s.meters.Watch.Control.Observe(seconds)
	} else {
		s.meters.Watch.Progress.Observe(seconds)
	}
	return err
}

// wants returns a filter of the events for a watch of v3: no directories of v2, and none that the
// watch's filters exclude.
func wants(filters []etcdserverpb.WatchCreateRequest_FilterType) func(*watch.Event) bool {
	var noPut, noDelete bool
	for _, f := range filters {
		noPut = noPut || f == etcdserverpb.WatchCreateRequest_NOPUT
		noDelete = noDelete || f == etcdserverpb.WatchCreateRequest_NODELETE
	}
	switch {
	case noPut && noDelete:
		return func(*watch.Event) bool { return false }
	case noPut:
		return func(e *watch.Event) bool { return !e.Dir && e.Type != kv.EventPut }
	case noDelete:
		return func(e *watch.Event) bool { return !e.Dir && e.Type != kv.EventDelete }
	default:
		return func(e *watch.Event) bool { return !e.Dir }
	}
}
