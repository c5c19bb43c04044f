package etcdfile

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// field is one field of a protobuf message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	value  uint64 // of a field with a number
	bytes  []byte // of a field with bytes; a part of the message
}

// nextField returns the first field of a message, and the rest of the message.
func nextField(b []byte) (f field, rest []byte, err error) {
	var n int
	if f.number, f.kind, n = protowire.ConsumeTag(b); n < 0 {
		return f, nil, protowire.ParseError(n)
	}
	b = b[n:]
	switch f.kind {
	case protowire.VarintType:
		f.value, n = protowire.ConsumeVarint(b)
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(b)
	default:
		n = protowire.ConsumeFieldValue(f.number, f.kind, b)
	}
	if n < 0 {
		return f, nil, protowire.ParseError(n)
	}
	return f, b[n:], nil
}

// eachField calls visit for each field of a protobuf message, with a number or with bytes.
func eachField(b []byte, visit func(number protowire.Number, value uint64, bytes []byte)) error {
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		visit(f.number, f.value, f.bytes)
		b = rest
	}
	return nil
}
