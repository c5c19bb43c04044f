package gateway

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// cut divides an encoding into pieces of random lengths, and counts how often each is released.
func cut(rng *rand.Rand, b []byte) (pieces [][]byte, released map[*byte]int) {
	for len(b) > 0 {
		n := 1 + rng.IntN(min(len(b), 1+rng.IntN(2*blockBytes)))
		pieces = append(pieces, b[:n:n])
		b = b[n:]
	}
	return pieces, make(map[*byte]int)
}

func randomList(rng *rand.Rand) *etcdserverpb.RangeResponse {
	value := func(atMost int) []byte {
		b := make([]byte, rng.IntN(atMost))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	number := func() int64 { return []int64{0, 1, -1, math.MaxInt64, rng.Int64()}[rng.IntN(5)] }
	m := &etcdserverpb.RangeResponse{More: rng.IntN(2) == 0, Count: number()}
	if rng.IntN(5) > 0 {
		m.Header = &etcdserverpb.ResponseHeader{ClusterId: rng.Uint64(), MemberId: math.MaxUint64, Revision: number(), RaftTerm: uint64(rng.IntN(2))}
	}
	for range rng.IntN(20) {
		m.Kvs = append(m.Kvs, &mvccpb.KeyValue{
			Key: value(30), Value: value([]int{1, 10, 100, 50_000}[rng.IntN(4)]),
			CreateRevision: number(), ModRevision: number(), Version: number(), Lease: number(),
		})
	}
	return m
}

// Lists in pieces have the text of lists that are encoded at once, wherever the pieces end, and
// each piece is released once.
func TestPiecesAsJSON(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		list := randomList(rng)
		for _, m := range []proto.Message{list, &etcdserverpb.RangeStreamResponse{RangeResponse: list}} {
			text, err := marshalJSON(m)
			if err != nil {
				t.Fatal(err)
			}
			encoding, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			pieces, released := cut(rng, encoding)
			var out bytes.Buffer
			done := func(p []byte) { released[&p[0]]++ }
			if err := writePieces(&out, m.ProtoReflect().Descriptor(), pieces, done); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if want := string(text); out.String() != want {
				t.Fatalf("seed %d, %d pieces:\n%.2000s\nwant\n%.2000s", seed, len(pieces), out.String(), want)
			}
			checkReleased(t, pieces, released)
		}
	}
}

func checkReleased(t *testing.T, pieces [][]byte, released map[*byte]int) {
	t.Helper()
	for i, p := range pieces {
		if n := released[&p[0]]; n != 1 && i < len(pieces)-1 || n > 1 {
			t.Fatalf("piece %d of %d was released %d times", i, len(pieces), n)
		}
	}
}

// limitedWriter fails after some bytes, as the connection of a client does that goes away.
type limitedWriter struct{ left int }

func (w *limitedWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("gone")
	}
	return len(p), nil
}

// Bytes that are no list, and clients that go away, end the response with an error, and all pieces
// are released.
func TestPiecesThatFail(t *testing.T) {
	as := (&etcdserverpb.RangeResponse{}).ProtoReflect().Descriptor()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2))
		list := randomList(rng)
		list.Count = 1 // so that the last byte matters
		encoding, err := proto.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		to := &limitedWriter{left: math.MaxInt}
		switch rng.IntN(3) {
		case 0:
			encoding = encoding[:len(encoding)-1]
		case 1:
			encoding = append(encoding, 15<<3, 1) // a field that there is not
		default:
			to.left = rng.IntN(len(encoding))
		}
		pieces, released := cut(rng, encoding)
		if err := writePieces(to, as, pieces, func(p []byte) { released[&p[0]]++ }); err == nil {
			t.Fatalf("seed %d: no error", seed)
		}
		checkReleased(t, pieces, released)
	}
}

// The transcoder can write every field of the messages that are held in pieces.
func TestPiecesHaveKnownKinds(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var check func(d protoreflect.MessageDescriptor)
	check = func(d protoreflect.MessageDescriptor) {
		if seen[d.FullName()] {
			return
		}
		seen[d.FullName()] = true
		for i := range d.Fields().Len() {
			switch f := d.Fields().Get(i); f.Kind() {
			case protoreflect.MessageKind:
				check(f.Message())
			case protoreflect.BytesKind, protoreflect.BoolKind, protoreflect.Int64Kind, protoreflect.Uint64Kind:
				if f.IsList() {
					t.Errorf("%s is a list of kind %s", f.FullName(), f.Kind())
				}
			default:
				t.Errorf("%s is of kind %s", f.FullName(), f.Kind())
			}
		}
	}
	check((&etcdserverpb.RangeStreamResponse{}).ProtoReflect().Descriptor())
}
