package gateway

import (
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// wirePieces is package grpcserver's: a long response that holds its encoding in pieces, each of
// which is released by done when it has been sent.
type wirePieces interface {
	WirePieces() (pieces [][]byte, done func(piece []byte))
}

// transcoder writes a message, whose encoding is in pieces, as JSON, and releases each piece once
// its text is written. So a long response takes the memory of its pieces and of textBytes, and a
// client that reads slowly frees it as it reads.
//
// It relies on an encoding like this server's own: fields in the order of the .proto file, the
// elements of a list one after the other, no zero values.
type transcoder struct {
	w      io.Writer
	text   []byte // not written yet
	pieces [][]byte
	done   func(piece []byte)
	at     int // bytes of pieces[0] that have been read
	read   int // bytes that have been read in all
	err    error
}

const (
	// textBytes is how much text is written at a time: package http1 sends longer pieces without a
	// copy.
	textBytes = 16 << 10
	// blockBytes is how many bytes are converted to base64 between two looks at the length of the
	// text.
	blockBytes = 3 * 1024
	// textBytesMax is how much text there may be.
	textBytesMax = textBytes + blockBytes/3*4 + 256
)

var texts = sync.Pool{New: func() any { return new([textBytesMax]byte) }}

// writePieces writes a message of a type as JSON.
func writePieces(w io.Writer, d protoreflect.MessageDescriptor, pieces [][]byte, done func(piece []byte)) error {
	buf := texts.Get().(*[textBytesMax]byte)
	defer texts.Put(buf)
	t := &transcoder{w: w, text: buf[:0], pieces: pieces, done: done}
	bytes := 0
	for _, p := range pieces {
		bytes += len(p)
	}
	t.message(d, bytes)
	t.write()
	for len(t.pieces) > 0 { // after an error
		t.release()
	}
	return t.err
}

// release drops the first piece.
func (t *transcoder) release() {
	t.done(t.pieces[0])
	t.pieces, t.at = t.pieces[1:], 0
}

// write writes the text.
func (t *transcoder) write() {
	if t.err == nil {
		_, t.err = t.w.Write(t.text)
	}
	t.text = t.text[:0]
}

// next returns the next bytes, at most n of them; they are valid until next is called again.
func (t *transcoder) next(n int) []byte {
	for len(t.pieces) > 0 && t.at == len(t.pieces[0]) {
		t.release()
	}
	if t.err == nil && len(t.pieces) == 0 {
		t.err = io.ErrUnexpectedEOF
	}
	if t.err != nil {
		return nil
	}
	p := t.pieces[0][t.at:]
	p = p[:min(n, len(p))]
	t.at += len(p)
	t.read += len(p)
	return p
}

func (t *transcoder) varint() uint64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		p := t.next(1)
		if t.err != nil {
			return 0
		}
		if v |= uint64(p[0]&0x7f) << shift; p[0] < 0x80 {
			return v
		}
	}
	t.err = fmt.Errorf("varint of more than 64 bits at byte %d of the response", t.read)
	return 0
}

// message writes a message whose encoding ends at a position.
func (t *transcoder) message(d protoreflect.MessageDescriptor, end int) {
	t.text = append(t.text, '{')
	var list protoreflect.FieldDescriptor // whose elements are being written
	for first := true; t.err == nil && t.read < end; first = false {
		num, _ := protowire.DecodeTag(t.varint())
		field := d.Fields().ByNumber(num)
		switch {
		case t.err != nil:
			return
		case field == nil:
			t.err = fmt.Errorf("unexpected field %d of %s", num, d.FullName())
			return
		case list != nil && field == list:
			t.text = append(t.text, ',')
		default:
			if list != nil {
				t.text = append(t.text, ']')
				list = nil
			}
			if !first {
				t.text = append(t.text, ',')
			}
			t.text = append(append(append(t.text, '"'), field.Name()...), `":`...)
			if field.IsList() {
				t.text = append(t.text, '[')
				list = field
			}
		}
		t.value(field)
		if len(t.text) >= textBytes {
			t.write()
		}
	}
	if list != nil {
		t.text = append(t.text, ']')
	}
	t.text = append(t.text, '}')
}

func (t *transcoder) value(field protoreflect.FieldDescriptor) {
	v := t.varint()
	switch field.Kind() {
	case protoreflect.MessageKind:
		t.message(field.Message(), t.read+int(v))
	case protoreflect.BytesKind:
		t.base64(int(v))
	case protoreflect.BoolKind:
		t.text = strconv.AppendBool(t.text, v != 0)
	case protoreflect.Int64Kind:
		t.text = append(strconv.AppendInt(append(t.text, '"'), int64(v), 10), '"')
	case protoreflect.Uint64Kind:
		t.text = append(strconv.AppendUint(append(t.text, '"'), v, 10), '"')
	default:
		t.err = fmt.Errorf("field %s of a response in pieces is of kind %s", field.FullName(), field.Kind())
	}
}

// base64 writes n bytes, which may be in several pieces.
func (t *transcoder) base64(n int) {
	t.text = append(t.text, '"')
	var rest [3]byte // what is not enough yet for four characters
	had := 0
	for n > 0 && t.err == nil {
		p := t.next(min(n, blockBytes))
		n -= len(p)
		if had > 0 {
			more := copy(rest[had:], p)
			had, p = had+more, p[more:]
			if had < len(rest) {
				continue
			}
			t.text = base64.StdEncoding.AppendEncode(t.text, rest[:])
		}
		whole := len(p) / 3 * 3
		t.text = base64.StdEncoding.AppendEncode(t.text, p[:whole])
		had = copy(rest[:], p[whole:])
		if len(t.text) >= textBytes {
			t.write()
		}
	}
	t.text = append(base64.StdEncoding.AppendEncode(t.text, rest[:had]), '"')
}
