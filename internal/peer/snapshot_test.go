package peer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// proxy is between two members, and simulates network faults.
type proxy struct {
	url    string
	target string

	mu     sync.Mutex
	conns  []net.Conn
	frozen chan struct{} // closed while bytes flow
	limit  int64         // a connection is cut after so many bytes towards the target; 0 means never
	cuts   int
}

func startProxy(t testing.TB, target string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := make(chan struct{})
	close(open)
	p := &proxy{url: "http://" + l.Addr().String(), target: strings.TrimPrefix(target, "http://"), frozen: open}
	t.Cleanup(func() {
		_ = l.Close()
		p.thaw()
		p.cut()
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			go p.pipe(out, in, true)
			go p.pipe(in, out, false)
		}
	}()
	return p
}

func (p *proxy) pipe(to, from net.Conn, counted bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf, total := make([]byte, 32<<10), int64(0)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		gate, limit := p.frozen, p.limit
		p.mu.Unlock()
		<-gate
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
		if total += int64(n); counted && limit > 0 && total > limit {
			p.mu.Lock()
			p.cuts++
			p.mu.Unlock()
			return
		}
	}
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = make(chan struct{})
}

func (p *proxy) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.frozen:
	default:
		close(p.frozen)
	}
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func snapshotMessage(from, to, index uint64) *raftpb.Message {
	m := message(raftpb.MessageType_MsgSnap, from, to, 0)
	m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: &index, ConfState: &raftpb.ConfState{Voters: []uint64{from, to}}}}
	return m
}

// source is a snapshot that records whether it was closed.
type source struct {
	io.Reader
	closed chan struct{}
}

func newSource(r io.Reader) *source { return &source{r, make(chan struct{})} }

func (s *source) Close() error {
	close(s.closed)
	return nil
}

// take is a handler that reads a whole snapshot.
func take(into chan<- []byte) func(context.Context, *raftpb.Message, int64, io.Reader) error {
	return func(_ context.Context, m *raftpb.Message, _ int64, r io.Reader) error {
		b, err := io.ReadAll(r)
		if err == nil {
			into <- b
		}
		return err
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	rand.NewChaCha8(seed).Read(b)
	return b
}

func TestSnapshotOfAnySize(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	got := make(chan []byte, 1)
	b.snapshot = take(got)
	introduce(a, b)
	for _, size := range []int{0, 1, chunkBytesMax, chunkBytesMax + 1, windowBytes*3 + 17} {
		want, known := randomBytes(size), int64(size)
		if size%2 == 1 {
			known = -1
		}
		src := newSource(bytes.NewReader(want))
		a.SendSnapshot(snapshotMessage(1, 2, 5), known, src)
		if !bytes.Equal(await(t, "the snapshot", got), want) {
			t.Errorf("%d bytes did not arrive as they were", size)
		}
		if !await(t, "the report", a.sent) {
			t.Errorf("a snapshot of %d bytes was reported as failed", size)
		}
		await(t, "the source is closed", src.closed)
	}
	if s := a.Stats()[0]; s.SnapshotsSent != 5 || s.SnapshotsFailed != 0 {
		t.Errorf("stats %+v", s)
	}
	if s := b.Stats()[0]; s.SnapshotsReceived != 5 {
		t.Errorf("stats of the receiver %+v", s)
	}
}

// A handler that recognizes the last byte need not read on to the io.EOF.
func TestSnapshotThatSaysWhereItEnds(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	introduce(a, b)
	read := make(chan struct{})
	b.snapshot = func(_ context.Context, _ *raftpb.Message, size int64, r io.Reader) error {
		_, err := io.ReadFull(r, make([]byte, 1000))
		close(read)
		return err
	}
	source, end := io.Pipe()
	a.SendSnapshot(snapshotMessage(1, 2, 5), -1, newSource(io.MultiReader(bytes.NewReader(make([]byte, chunkBytesMax)), source)))
	_, _ = <-read, end.Close()
	if await(t, "the report", a.sent) {
		t.Error("a snapshot of which most was not read was reported as sent")
	}

	read = make(chan struct{})
	source, end = io.Pipe()
	a.SendSnapshot(snapshotMessage(1, 2, 6), -1, newSource(source))
	if _, err := end.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	_ = end.Close()
	if <-read; !await(t, "the report", a.sent) {
		t.Error("it was reported as failed")
	}
}

// The proxy cuts each connection after 3 MB: 20 MB arrive only if each continues where the last one
// ended.
func TestSnapshotIsResumed(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	var calls int
	got := make(chan [32]byte, 1)
	b.snapshot = func(_ context.Context, m *raftpb.Message, size int64, r io.Reader) error {
		calls++
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		if size != 20<<20 || m.GetSnapshot().GetMetadata().GetIndex() != 5 {
			return errors.New("not the snapshot that was sent")
		}
		got <- [32]byte(h.Sum(nil))
		return nil
	}
	proxy := startProxy(t, b.url)
	proxy.limit = 3 << 20
	a.SetPeers([]Peer{{2, []string{proxy.url}}})
	want := randomBytes(20 << 20)
	a.SendSnapshot(snapshotMessage(1, 2, 5), int64(len(want)), newSource(bytes.NewReader(want)))
	if await(t, "the snapshot", got) != sha256.Sum256(want) {
		t.Error("the bytes are not those that were sent")
	}
	if !await(t, "the report", a.sent) {
		t.Error("it was reported as failed")
	}
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	if proxy.cuts < 5 || calls != 1 {
		t.Errorf("%d connections were cut, the handler was called %d times", proxy.cuts, calls)
	}
}

func TestSnapshotThatFails(t *testing.T) {
	fast := func(c *Config) { c.Limits.SnapshotTimeout = 3 * time.Second }
	a, b := startNode(t, 1, fast), startNode(t, 2, fast)
	introduce(a, b)
	failed := make(chan error, 1)
	read := func(_ context.Context, _ *raftpb.Message, _ int64, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		failed <- err
		return err
	}
	broken := func() io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), errReader{}) }
	for name, c := range map[string]struct {
		handler func(context.Context, *raftpb.Message, int64, io.Reader) error
		source  io.Reader
		size    int64
	}{
		"the source":      {read, broken(), -1},
		"a wrong size":    {read, bytes.NewReader(make([]byte, 1000)), 1001},
		"the receiver":    {func(context.Context, *raftpb.Message, int64, io.Reader) error { return errors.New("no room") }, bytes.NewReader(make([]byte, 9<<20)), -1},
		"not read to end": {func(context.Context, *raftpb.Message, int64, io.Reader) error { return nil }, bytes.NewReader(make([]byte, 9<<20)), -1},
	} {
		b.snapshot = c.handler
		src := newSource(c.source)
		a.SendSnapshot(snapshotMessage(1, 2, 5), c.size, src)
		if await(t, name+": the report", a.sent) {
			t.Errorf("%s: it was reported as sent", name)
		}
		await(t, "the source is closed", src.closed)
		if c.size == 1001 || name == "the source" {
			if err := await(t, name+": the receiver's error", failed); err == nil {
				t.Errorf("%s: the receiver read it to its end", name)
			}
		}
	}
	if a.log.count("cannot send a snapshot", "no room") != 1 {
		t.Error("the receiver's reason is not in the sender's log")
	}

	// A receiver that is down, and an unknown peer.
	b.close()
	a.SendSnapshot(snapshotMessage(1, 2, 5), -1, newSource(bytes.NewReader(nil)))
	if await(t, "the report", a.sent) {
		t.Error("a snapshot to an unknown peer was reported as sent")
	}
	a.SendSnapshot(snapshotMessage(1, 9, 5), -1, newSource(bytes.NewReader(nil)))
	if await(t, "the report", a.sent) {
		t.Error("a snapshot to a stranger was reported as sent")
	}
	a.Send([]*raftpb.Message{snapshotMessage(1, 2, 5)})
	if await(t, "the report", a.sent) {
		t.Error("a snapshot that was sent as a message was reported as sent")
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("the disk broke") }

// If a sender disappears in the middle of a snapshot, the receiver fails.
func TestSnapshotWhoseSenderDies(t *testing.T) {
	a := startNode(t, 1, nil)
	b := startNode(t, 2, func(c *Config) { c.Limits.SnapshotTimeout = 100 * time.Millisecond })
	failed := make(chan error, 1)
	b.snapshot = func(_ context.Context, _ *raftpb.Message, _ int64, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		failed <- err
		return err
	}
	introduce(a, b)
	r, w := io.Pipe()
	a.SendSnapshot(snapshotMessage(1, 2, 5), -1, r)
	if _, err := w.Write(make([]byte, chunkBytesMax)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = w.Write(make([]byte, 100)) }()
	_ = w.Close()
	go a.close()
	// Either the end arrived before the connection was lost, or the receiver fails; it does not
	// wait for ever.
	await(t, "the receiver's end", failed)
	eventually(t, "the transfer is forgotten", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.snapshots) == 0
	})
}

// A new snapshot to the same peer replaces the previous one.
func TestSnapshotThatIsReplaced(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	begun, got := make(chan struct{}, 1), make(chan []byte, 1)
	b.snapshot = func(_ context.Context, m *raftpb.Message, _ int64, r io.Reader) error {
		if m.GetSnapshot().GetMetadata().GetIndex() == 5 {
			begun <- struct{}{}
			_, err := io.Copy(io.Discard, r)
			return err
		}
		return take(got)(context.Background(), m, 0, r)
	}
	introduce(a, b)
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	a.SendSnapshot(snapshotMessage(1, 2, 5), -1, newSource(io.MultiReader(bytes.NewReader(make([]byte, chunkBytesMax)), r)))
	await(t, "the first one", begun)
	a.SendSnapshot(snapshotMessage(1, 2, 6), 3, newSource(strings.NewReader("new")))
	if string(await(t, "the second one", got)) != "new" {
		t.Error("not the second one's bytes")
	}
	_ = w.Close()
	if first, second := await(t, "a report", a.sent), await(t, "a report", a.sent); first == second {
		t.Errorf("reported %v and %v", first, second)
	}
}

func TestSnapshotAtARate(t *testing.T) {
	const rate, size = 4 << 20, 1 << 20
	a, b := startNode(t, 1, func(c *Config) { c.Limits.SnapshotBytesPerSecond = rate }), startNode(t, 2, nil)
	got := make(chan []byte, 1)
	b.snapshot = take(got)
	introduce(a, b)
	start := time.Now()
	a.SendSnapshot(snapshotMessage(1, 2, 5), size, newSource(bytes.NewReader(make([]byte, size))))
	await(t, "the snapshot", got)
	// The last chunk is not delayed by its own length.
	if took, least := time.Since(start), time.Second*(size-chunkBytesMax)/rate; took < least {
		t.Errorf("%d bytes took %v, less than %v", size, took, least)
	}
}
