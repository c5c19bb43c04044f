package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"
)

// drawMessage makes messages in which any field may be absent, zero or large.
func drawMessage(t *rapid.T) *raftpb.Message {
	number := func(name string) *uint64 {
		if rapid.Bool().Draw(t, name+" is set") {
			return proto.Uint64(rapid.Uint64().Draw(t, name))
		}
		return nil
	}
	data := func(name string) []byte {
		if rapid.Bool().Draw(t, name+" is set") {
			return rapid.SliceOfN(rapid.Byte(), 0, 2*referBytesMin).Draw(t, name)
		}
		return nil
	}
	m := &raftpb.Message{
		To: number("to"), From: number("from"), Term: number("term"), LogTerm: number("log term"), Index: number("index"),
		Commit: number("commit"), Vote: number("vote"), RejectHint: number("reject hint"), Context: data("context"),
	}
	if rapid.Bool().Draw(t, "type is set") {
		m.Type = raftpb.MessageType(rapid.IntRange(-1, 23).Draw(t, "type")).Enum()
	}
	if rapid.Bool().Draw(t, "reject is set") {
		m.Reject = proto.Bool(rapid.Bool().Draw(t, "reject"))
	}
	for range rapid.IntRange(0, 4).Draw(t, "entries") {
		e := &raftpb.Entry{Term: number("entry's term"), Index: number("entry's index"), Data: data("entry's data")}
		if rapid.Bool().Draw(t, "entry's type is set") {
			e.Type = raftpb.EntryType(rapid.IntRange(0, 2).Draw(t, "entry's type")).Enum()
		}
		m.Entries = append(m.Entries, e)
	}
	if rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
		m.Snapshot = &raftpb.Snapshot{Data: data("snapshot's data"), Metadata: &raftpb.SnapshotMetadata{Index: number("snapshot's index")}}
	}
	return m
}

// The generated code reads what the hand-written encoder writes, and the reverse; frames preserve
// the bytes.
func TestMessagesOnTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := batch{refer: rapid.Bool().Draw(t, "writev")}
		var msgs []*raftpb.Message
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			m := drawMessage(t)
			msgs = append(msgs, m)
			before := b.size()
			if err := b.message(m); err != nil {
				t.Fatal(err)
			}
			if got, want := b.size()-before, frameHead+messageSize(m); got != want {
				t.Fatalf("a frame of %d bytes, not %d", got, want)
			}
		}
		var wire bytes.Buffer
		if err := b.writeTo(&wire); err != nil {
			t.Fatal(err)
		}
		r := newFrameReader(&wire, 1<<20)
		for _, want := range msgs {
			k, payload, borrowed, err := r.next()
			if err != nil || k != kindMessage {
				t.Fatalf("frame of kind %d: %v", k, err)
			}
			var generated raftpb.Message
			if err := proto.Unmarshal(payload, &generated); err != nil {
				t.Fatal(err)
			}
			got, err := decodeMessage(payload, borrowed)
			if err != nil {
				t.Fatal(err)
			}
			if borrowed {
				clear(payload) // the result must not alias it
			}
			if !proto.Equal(want, &generated) || !proto.Equal(want, got) {
				t.Fatalf("sent %v\ngenerated %v\ngot %v", want, &generated, got)
			}
		}
		if _, _, _, err := r.next(); !errors.Is(err, io.EOF) {
			t.Fatalf("behind the last frame: %v", err)
		}
	})
}

// The hand-written codec must know every field of raft's messages, or a new one would be dropped
// silently.
func TestEveryFieldIsKnown(t *testing.T) {
	for message, want := range map[proto.Message]string{
		&raftpb.Message{}: "type to from term logTerm index entries commit vote snapshot reject rejectHint context responses",
		&raftpb.Entry{}:   "Term Index Type Data",
	} {
		var names []string
		fields := message.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			names = append(names, string(fields.Get(i).Name()))
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%T has the fields %q; codec.go knows %q", message, got, want)
		}
	}
}

// Fields of a later version go through the generated code, and are preserved.
func TestUnknownFieldsAreKept(t *testing.T) {
	m := appendOf(1, 2, 3, 10)
	unknown := protoreflect.RawFields{0x80, 0x08, 0x05} // field 128, 5
	for _, part := range []proto.Message{m, m.Entries[0]} {
		part.ProtoReflect().SetUnknown(unknown)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeMessage(b, false)
	if err != nil || !proto.Equal(got, m) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTooManyEntries(t *testing.T) {
	withResponse, err := proto.Marshal(&raftpb.Message{Responses: []*raftpb.Message{heartbeat(1, 2, 3)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeMessage(withResponse, false); !errors.Is(err, errMessage) {
		t.Errorf("with a response: %v", err)
	}
	if _, err := decodeMessage(bytes.Repeat([]byte{tagEntries, 0}, entriesMax+1), false); !errors.Is(err, errMessage) {
		t.Errorf("got %v", err)
	}
}

func TestFramesThatAreWrong(t *testing.T) {
	var b batch
	b.frame(kindPing, []byte("12345678"))
	whole := b.buf
	read := func(bytesOf []byte) error {
		r := newFrameReader(bytes.NewReader(bytesOf), 100)
		_, _, _, err := r.next()
		return err
	}
	if err := read(whole); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		broken := bytes.Clone(whole)
		broken[i] ^= 0x10
		if err := read(broken); !errors.Is(err, errFrame) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if err := read(whole[:i]); i > 0 && !errors.Is(err, io.ErrUnexpectedEOF) || i == 0 && !errors.Is(err, io.EOF) {
			t.Errorf("cut off after %d bytes: %v", i, err)
		}
	}
	for _, length := range [][]byte{{0, 0, 0, 0}, {0, 0, 0, 102}, {255, 255, 255, 255}} {
		if err := read(append(length, 0, 0, 0, 0, 1, 0)); !errors.Is(err, errFrame) {
			t.Errorf("length %v: %v", length, err)
		}
	}
}

// TestALargeFrameIsPaidForAsItComes: a frame takes memory as its bytes arrive, not when its header
// announces the length.
func TestALargeFrameIsPaidForAsItComes(t *testing.T) {
	// The average of many runs: goroutines of other tests may allocate meanwhile.
	allocated := testing.AllocsPerRun(100, func() {
		r := newFrameReader(bytes.NewReader([]byte{0x3f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 2, 3}), 1<<30)
		if _, _, _, err := r.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v", err)
		}
	})
	if allocated > 20 {
		t.Errorf("%v allocations", allocated)
	}
	b, err := readLarge(io.LimitReader(zeros{}, 9<<20), 1<<30)
	if b != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d bytes, %v", len(b), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Reading any bytes of a peer ends, and what was read can be written.
func FuzzFrames(f *testing.F) {
	b := batch{}
	if err := b.message(appendOf(1, 2, 3, 10)); err != nil {
		f.Fatal(err)
	}
	b.frame(kindPing, make([]byte, 8))
	if err := b.message(snapshotMessage(1, 2, 3)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.buf, false)
	f.Add(b.buf[:20], true)
	f.Add([]byte("GET /members HTTP/1.1\r\n\r\n"), false)
	f.Fuzz(func(t *testing.T, input []byte, reframe bool) {
		// with a valid checksum, so that the fuzzed bytes reach the decoder of messages
		if reframe {
			var b batch
			b.frame(kindMessage, input)
			input = b.buf
		}
		r := newFrameReader(bytes.NewReader(input), 1<<20)
		for {
			k, payload, borrowed, err := r.next()
			if err != nil {
				return
			}
			if k != kindMessage {
				continue
			}
			var generated raftpb.Message
			wrong := proto.Unmarshal(payload, &generated)
			m, err := decodeMessage(payload, borrowed)
			if len(generated.Responses) > 0 {
				if err == nil {
					t.Fatal("a message with responses was accepted")
				}
				continue
			}
			if (err == nil) != (wrong == nil) {
				t.Fatalf("by hand: %v; generated code: %v", err, wrong)
			}
			if err != nil {
				continue
			}
			if !proto.Equal(m, &generated) {
				t.Fatalf("by hand: %v; generated code: %v", m, &generated)
			}
			if err := (&batch{}).message(m); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A stream on which the sender sends nothing more is closed.
func TestASilentSenderIsNoticed(t *testing.T) {
	a := startNode(t, 1, nil)
	b := startNode(t, 2, func(c *Config) { c.Limits.DeadAfter = 100 * time.Millisecond })
	for _, lane := range []string{laneControl, laneAppend} {
		l := a.openStream(t, b, lane)
		for {
			if k, _, _, err := l.frames.next(); err != nil {
				break
			} else if k != kindAlive {
				t.Errorf("frame of kind %d", k)
			}
		}
		_ = l.conn.Close()
	}
}

// Invalid bytes end the stream and nothing else.
func TestGarbageOnAStream(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	b.SetPeers([]Peer{a.peer()})
	var good batch
	if err := good.message(heartbeat(1, 2, 5)); err != nil {
		t.Fatal(err)
	}
	whole := bytes.Clone(good.buf)
	for name, c := range map[string]struct {
		send   []byte
		logged string
	}{
		"garbage":          {[]byte("PUT /v2/keys/a HTTP/1.1\r\n\r\n"), "corrupt frame"},
		"half a frame":     {whole[:len(whole)-1], ""},
		"another's name":   {framed(t, heartbeat(3, 2, 5)), "in the name of member"},
		"another's mail":   {framed(t, heartbeat(1, 3, 5)), "for member"},
		"a local message":  {framed(t, message(raftpb.MessageType_MsgHup, 1, 2, 0)), "MsgHup"},
		"a snapshot":       {framed(t, snapshotMessage(1, 2, 5)), "MsgSnap"},
		"no message":       {frameOf(kindMessage, []byte{0xff}), "not a raft message"},
		"an unknown frame": {frameOf(99, nil), "kind 99"},
	} {
		l := a.openStream(t, b, laneControl)
		if _, err := l.conn.Write(append(bytes.Clone(whole), c.send...)); err != nil {
			t.Fatal(err)
		}
		if err := l.conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		for { // until the other side has closed it
			if _, _, _, err := l.frames.next(); err != nil {
				break
			}
		}
		_ = l.conn.Close()
		if m := await(t, name+": the good message before it", b.messages); m.GetIndex() != 5 {
			t.Errorf("%s: got %v", name, m)
		}
		if c.logged != "" {
			eventually(t, name+": it is logged", func() bool { return b.log.count("closed the stream of a peer", c.logged) == 1 })
		}
	}
	if len(b.messages) != 0 {
		t.Errorf("%d messages more than were sent", len(b.messages))
	}
}

func framed(t *testing.T, m *raftpb.Message) []byte {
	var b batch
	if err := b.message(m); err != nil {
		t.Fatal(err)
	}
	return b.buf
}

func frameOf(k kind, payload []byte) []byte {
	var b batch
	b.frame(k, payload)
	return b.buf
}

// The example in docs/formats/peer.md.
func TestExample(t *testing.T) {
	m := message(raftpb.MessageType_MsgHeartbeat, 1, 2, 0)
	m.Index, m.Term, m.Commit = nil, proto.Uint64(3), proto.Uint64(5)
	if got := fmt.Sprintf("%x", framed(t, m)); got != "0000000bf88f49e90108081002180120034005" {
		t.Error(got)
	}
	if got := fmt.Sprintf("%x", frameOf(kindAck, binary.BigEndian.AppendUint64(nil, 262144))); got != "00000009e25b02a3070000000000040000" {
		t.Error(got)
	}
}
