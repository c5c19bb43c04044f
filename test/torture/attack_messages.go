package main

import (
	"fmt"
	"math"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"cairn/internal/v3electionpb"
	"cairn/internal/v3lockpb"
)

// method is one of the API's methods.
type method struct {
	path   string // of gRPC
	json   string // of the JSON gateway, "" without one
	input  protoreflect.MessageDescriptor
	stream bool
}

// methods are all of v3.
var methods = func() (all []method) {
	for _, file := range []protoreflect.FileDescriptor{
		(&etcdserverpb.RangeRequest{}).ProtoReflect().Descriptor().ParentFile(),
		(&v3lockpb.LockRequest{}).ProtoReflect().Descriptor().ParentFile(),
		(&v3electionpb.CampaignRequest{}).ProtoReflect().Descriptor().ParentFile(),
	} {
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				one := method{
					path: fmt.Sprintf("/%s/%s", s.FullName(), m.Name()), input: m.Input(), stream: m.IsStreamingClient() || m.IsStreamingServer(),
				}
				if rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule); ok {
					one.json = rule.GetPost()
				}
				all = append(all, one)
			}
		}
	}
	return all
}()

func (m method) is(name string) bool { return strings.HasSuffix(m.path, "/"+name) }

// request returns a random message for a method. Compactions are of revisions that cannot be, since
// the history does not know those of attackers.
func (a *attacker) request(m method) *dynamicpb.Message {
	msg := dynamicpb.NewMessage(m.input)
	a.fill(msg, 4)
	if m.is("Compact") {
		revision := m.input.Fields().ByName("revision")
		msg.Set(revision, protoreflect.ValueOfInt64(pick[int64](a.rng, -1, 0, math.MaxInt64, math.MinInt64, 1<<50)))
	}
	return msg
}

// wire returns a random message in protobuf's encoding, sometimes damaged.
func (a *attacker) wire(m method) []byte {
	b, err := proto.Marshal(a.request(m))
	if err != nil {
		return a.bytes(200) // a string that is not UTF-8
	}
	if m.is("Compact") {
		return b
	}
	switch a.rng.IntN(6) {
	case 0:
		a.damage(b)
	case 1:
		b = b[:a.rng.IntN(len(b)+1)]
	case 2:
		b = append(b, a.bytes(40)...)
	}
	return b
}

// text returns a random message as JSON, sometimes damaged.
func (a *attacker) text(m method) []byte {
	b, err := protojson.MarshalOptions{UseProtoNames: a.rng.IntN(2) == 0, UseEnumNumbers: a.rng.IntN(2) == 0}.Marshal(a.request(m))
	if err != nil {
		return a.bytes(200)
	}
	if m.is("Compact") {
		return b
	}
	switch a.rng.IntN(8) {
	case 0:
		a.damage(b)
	case 1:
		b = b[:a.rng.IntN(len(b)+1)]
	case 2:
		b = []byte(strings.Repeat(`{"a":[`, a.rng.IntN(2000)))
	case 3:
		b = append(b, a.bytes(40)...)
	}
	return b
}

// fill sets random fields of a message.
func (a *attacker) fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if a.rng.IntN(5) < 2 || depth == 0 && f.Message() != nil {
			continue
		}
		switch {
		case f.IsMap():
		case f.IsList():
			list := m.Mutable(f).List()
			for range pick(a.rng, 0, 1, 1, 1, 2, 3, pick(a.rng, 1, 1, 1, 1, 140)) {
				if f.Message() != nil {
					e := list.NewElement()
					a.fill(e.Message(), depth-1)
					list.Append(e)
				} else {
					list.Append(a.value(f))
				}
			}
		case f.Message() != nil:
			a.fill(m.Mutable(f).Message(), depth-1)
		default:
			m.Set(f, a.value(f))
		}
	}
}

// key returns a key: mostly one that the attackers may write.
func (a *attacker) key() string {
	switch a.rng.IntN(10) {
	case 0:
		return pick(a.rng, "", "\x00", "\xff", "a", "/d/x", "/", chaosDir)
	case 1:
		return string(a.bytes(80))
	case 2:
		return chaosPrefix + strings.Repeat("x/", a.rng.IntN(300))
	default:
		return fmt.Sprintf("%s%d", chaosPrefix, a.rng.IntN(40))
	}
}

func (a *attacker) number() int64 {
	return pick[int64](a.rng, 0, 0, 1, 1, 2, 3, -1, a.rng.Int64N(100), a.rng.Int64N(5000), math.MaxInt64, math.MinInt64, 1<<40, int64(a.rng.Uint64()))
}

func (a *attacker) value(f protoreflect.FieldDescriptor) protoreflect.Value {
	if (f.Name() == "lease" || f.Name() == "revision") && f.Kind() == protoreflect.Int64Kind && a.rng.IntN(4) > 0 {
		return protoreflect.ValueOfInt64(0) // or most requests would be refused for it
	}
	switch f.Kind() {
	case protoreflect.BytesKind:
		if f.Name() == "range_end" && a.rng.IntN(2) == 0 {
			return protoreflect.ValueOfBytes([]byte(pick(a.rng, "", "\x00", chaosPrefix+"~", "/chaos0")))
		}
		if a.rng.IntN(60) == 0 {
			return protoreflect.ValueOfBytes(make([]byte, 200_000))
		}
		return protoreflect.ValueOfBytes([]byte(a.key()))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(pick(a.rng, "", "root", chaosUser, "guest", "nobody", chaosPassword, "http://127.0.0.1:1", "x\x00y", strings.Repeat("n", 1000)))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(a.rng.IntN(5) == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(pick[int32](a.rng, 0, 1, 2, 3, -1, 99)))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(a.number()))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(a.number()))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(a.number()))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(a.number()))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(a.number()))
	default:
		return protoreflect.ValueOfInt64(a.number())
	}
}
