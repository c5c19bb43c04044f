package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"cairn/internal/budget"
)

const contentType = "application/json"

// codec is JSON in etcd 3.7's form: fields have the names of the .proto files, zero values are
// omitted, unknown members of a request are ignored, 64-bit integers are strings, bytes are base64.
var codec = runtime.JSONPb{
	MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
	UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
}

// spaced reports whether package protojson adds spaces to its output. It decides by the hash of the
// program, so that programs do not rely on the text; but users compare the output of curl.
var spaced = func() bool {
	text, err := codec.MarshalOptions.Marshal(status.New(codes.Internal, "x").Proto())
	return err != nil || bytes.ContainsRune(text, ' ')
}()

func marshalJSON(m proto.Message) ([]byte, error) {
	text, err := codec.MarshalOptions.Marshal(m)
	if err != nil || !spaced {
		return text, err
	}
	var out bytes.Buffer
	out.Grow(len(text))
	err = json.Compact(&out, text)
	return out.Bytes(), err
}

// decodeBody decodes one request. An empty body is a request without fields.
func decodeBody(body io.Reader, m proto.Message, bytesMax int) error {
	if err := codec.NewDecoder(body).Decode(m); err != nil && !errors.Is(err, io.EOF) {
		return invalid(err)
	}
	return checkSize(m, bytesMax)
}

// invalid converts an error of the decoder to a client's error.
func invalid(err error) error {
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) || errors.Is(err, budget.ErrExhausted) {
		return err
	}
	return status.Error(codes.InvalidArgument, shortened(err.Error()))
}

// errorTextMax is how long the text of an error about the client's input may be: the decoder quotes
// what it does not understand.
const errorTextMax = 200

func shortened(text string) string {
	if len(text) <= errorTextMax {
		return text
	}
	return strings.ToValidUTF8(text[:errorTextMax], "") + "…"
}

// checkSize refuses messages that the gRPC server would refuse, with gRPC's text.
func checkSize(m proto.Message, bytesMax int) error {
	if n := proto.Size(m); n > bytesMax {
		return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", n, bytesMax)
	}
	return nil
}

// wireUnmarshaler and wireAppender are package grpcserver's: messages of hot calls that are not
// protobuf messages, but encode and decode themselves.
type (
	wireUnmarshaler interface{ UnmarshalWire(b []byte) error }
	wireAppender    interface {
		AppendWire(b []byte) ([]byte, error)
	}
)

// encodedBytes returns the length of a response's encoding, or a little more. It is 0 for responses
// that do not tell it, which are short.
func encodedBytes(reply any) int64 {
	switch m := reply.(type) {
	case interface{ SizeWire() int }:
		return int64(m.SizeWire())
	case proto.Message:
		return int64(proto.Size(m))
	}
	return 0
}

// hand copies a request into the message that a handler decodes.
func hand(in proto.Message, v any) error {
	if same, ok := v.(proto.Message); ok && same.ProtoReflect().Descriptor() == in.ProtoReflect().Descriptor() {
		proto.Merge(same, in)
		return nil
	}
	b, err := proto.Marshal(in)
	if err != nil {
		return status.Errorf(codes.Internal, "encode request: %v", err)
	}
	switch m := v.(type) {
	case wireUnmarshaler:
		err = m.UnmarshalWire(b)
	default:
		err = fmt.Errorf("unexpected request type %T", v)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
	}
	return nil
}

// published converts a response to the message of the published API.
func published(reply any, as protoreflect.MessageType) (proto.Message, error) {
	switch m := reply.(type) {
	case wireAppender:
		b, err := m.AppendWire(nil)
		if err != nil {
			return nil, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
		}
		out := as.New().Interface()
		if err := proto.Unmarshal(b, out); err != nil {
			return nil, status.Errorf(codes.Internal, "decode response: %v", err)
		}
		return out, nil
	case proto.Message:
		return m, nil
	}
	return nil, status.Errorf(codes.Internal, "unexpected response type %T", reply)
}

// unaryError is the body of an error: 3.7's members, code and message, and the member error of 3.4
// and 3.5, for clients of either.
type unaryError struct {
	Error   string     `json:"error"`
	Code    codes.Code `json:"code"`
	Message string     `json:"message"`
}

// streamError is the last message of a failed stream; the members with http and grpc in their names
// are 3.4's and 3.5's.
type streamError struct {
	Error struct {
		Code       codes.Code `json:"code"`
		Message    string     `json:"message"`
		GRPCCode   codes.Code `json:"grpc_code"`
		HTTPCode   int        `json:"http_code"`
		HTTPStatus string     `json:"http_status"`
	} `json:"error"`
}

func writeError(w http.ResponseWriter, s *status.Status) {
	text, err := json.Marshal(unaryError{s.Message(), s.Code(), s.Message()})
	if err != nil { // cannot fail for this type
		text = []byte(`{"code":13,"message":"failed to marshal error message"}`)
	}
	w.Header().Set("Content-Type", contentType)
	if s.Code() == codes.Unauthenticated {
		w.Header().Set("WWW-Authenticate", s.Message())
	}
	w.WriteHeader(runtime.HTTPStatusFromCode(s.Code()))
	_, _ = w.Write(text) // the client may have disconnected
}

func streamErrorText(s *status.Status) []byte {
	var e streamError
	e.Error.Code, e.Error.GRPCCode, e.Error.Message = s.Code(), s.Code(), s.Message()
	e.Error.HTTPCode = runtime.HTTPStatusFromCode(s.Code())
	e.Error.HTTPStatus = http.StatusText(e.Error.HTTPCode)
	text, err := json.Marshal(e)
	if err != nil {
		return []byte(`{"error":{"code":13,"message":"failed to marshal error message"}}`)
	}
	return append(text, '\n')
}

// writeMetadata writes the header metadata that a handler has set, and the headers that etcd's
// gateway, which has a gRPC connection behind it, adds to every response.
func writeMetadata(w http.ResponseWriter, md metadata.MD) {
	w.Header()["Grpc-Metadata-Content-Type"] = []string{"application/grpc"}
	for key, values := range md {
		for _, v := range values {
			w.Header().Add(runtime.MetadataHeaderPrefix+key, v)
		}
	}
}
