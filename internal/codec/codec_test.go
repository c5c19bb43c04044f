package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/quick"
)

// TestRoundTrip reads back what was appended, without a remainder.
func TestRoundTrip(t *testing.T) {
	if err := quick.Check(func(number uint64, signed int64, id uint64, b []byte, text string, last byte, rest []byte) bool {
		buf := binary.AppendVarint(binary.AppendUvarint(nil, number), signed)
		buf = AppendText(AppendBytes(binary.BigEndian.AppendUint64(buf, id), b), text)
		buf = append(append(buf, last), rest...)
		r := NewReader(buf)
		return r.Uvarint() == number && r.Varint() == signed && r.Uint64() == id && bytes.Equal(r.Bytes(), b) && r.Text() == text &&
			r.Byte() == last && bytes.Equal(r.Rest(), rest) && r.End() == nil
	}, nil); err != nil {
		t.Error(err)
	}
}

// TestBytesOfNumbers pins encodings of encoding/binary that stored formats depend on.
func TestBytesOfNumbers(t *testing.T) {
	for text, want := range map[string]uint64{
		"\x00": 0, "\x7f": 127, "\x80\x01": 128, "\xac\x02": 300, strings.Repeat("\xff", 9) + "\x01": math.MaxUint64,
		"\x81\x00": 1, // longer than necessary
	} {
		r := NewReader([]byte(text))
		if got := r.Uvarint(); got != want || r.End() != nil {
			t.Errorf("%x is %d, %v, want %d", text, got, r.End(), want)
		}
	}
	for text, want := range map[string]int64{"\x00": 0, "\x01": -1, "\x02": 1, strings.Repeat("\xff", 9) + "\x01": math.MinInt64} {
		r := NewReader([]byte(text))
		if got := r.Varint(); got != want || r.End() != nil {
			t.Errorf("%x is %d, %v, want %d", text, got, r.End(), want)
		}
	}
}

// TestTexts pins both forms of lists, which are stored.
func TestTexts(t *testing.T) {
	for _, c := range []struct {
		texts           []string
		plain, optional string
	}{
		{nil, "\x00", "\x00"},
		{[]string{}, "\x00", "\x01"},
		{[]string{""}, "\x01\x00", "\x02\x00"},
		{[]string{"ab", "c"}, "\x02\x02ab\x01c", "\x03\x02ab\x01c"},
	} {
		plain, optional := AppendTexts(nil, c.texts), AppendOptionalTexts(nil, c.texts)
		if string(plain) != c.plain || string(optional) != c.optional {
			t.Errorf("%q is stored as %q and, optional, as %q; want %q and %q", c.texts, plain, optional, c.plain, c.optional)
		}
		r := NewReader(plain)
		if got := r.Texts(); r.End() != nil || !slices.Equal(got, c.texts) || len(c.texts) == 0 && got != nil {
			t.Errorf("%q was read as %q, %v", c.texts, got, r.Err())
		}
		r = NewReader(optional)
		if got := r.OptionalTexts(); r.End() != nil || !slices.Equal(got, c.texts) || (got == nil) != (c.texts == nil) {
			t.Errorf("optional %q was read as %q, %v", c.texts, got, r.Err())
		}
	}
}

// TestErrors checks that the error names the first failed read with its offset, and that later
// reads return zero values.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		bytes string
		read  func(r *Reader)
		want  string
	}{
		{"", func(r *Reader) { r.Byte() }, "byte 0 of 0: a byte is missing"},
		{"ab\x80", func(r *Reader) { r.Byte(); r.Byte(); r.Uvarint() }, "byte 2 of 3: a number is cut short"},
		{"\x01\x80", func(r *Reader) { r.Varint(); r.Varint() }, "byte 1 of 2: a number is cut short"},
		{strings.Repeat("\xff", 11), func(r *Reader) { r.Uvarint() }, "byte 0 of 11: a number of more than 64 bits"},
		{"1234567", func(r *Reader) { r.Uint64() }, "byte 0 of 7: 7 bytes, want 8"},
		{"\x05abcd", func(r *Reader) { r.Bytes() }, "byte 1 of 5: 4 bytes, want 5"},
		{strings.Repeat("\xff", 9) + "\x01", func(r *Reader) { r.Text() }, "byte 10 of 10: 0 bytes, want 18446744073709551615"},
		{"\x03ab", func(r *Reader) { r.Count() }, "byte 1 of 3: a list of 3 items in 2 bytes"},
		{"\x03ab", func(r *Reader) { r.Texts() }, "byte 1 of 3: a list of 3 items in 2 bytes"},
		{"\x04ab", func(r *Reader) { r.OptionalTexts() }, "byte 1 of 3: a list of 3 items in 2 bytes"},
		{"\x02\x01a\x02b", func(r *Reader) { r.Texts() }, "byte 4 of 5: 1 bytes, want 2"},
		{"abc", func(r *Reader) { r.Byte() }, "byte 1 of 3: 2 bytes too many"},
		{"abc", func(r *Reader) { r.Fail("kind %d", r.Byte()); r.Fail("later") }, "byte 1 of 3: kind 97"},
		{"a", func(r *Reader) { r.Take(2); r.Take(3) }, "byte 0 of 1: 1 bytes, want 2"},
	} {
		r := NewReader([]byte(c.bytes))
		c.read(&r)
		if err := r.End(); err == nil || err.Error() != c.want {
			t.Errorf("%q: error %v, want %s", c.bytes, err, c.want)
		}
		if r.Byte() != 0 || r.Uvarint() != 0 || r.Varint() != 0 || r.Uint64() != 0 || r.Count() != 0 || len(r.Bytes()) != 0 || r.Text() != "" || r.Texts() != nil || r.OptionalTexts() != nil ||
			r.Rest() != nil || r.Take(0) != nil || r.Len() != 0 {
			t.Errorf("%q: something is read after the error", c.bytes)
		}
		if err := r.Err(); err.Error() != c.want {
			t.Errorf("%q: later error %v, want %s", c.bytes, err, c.want)
		}
	}
}

// TestBytesAliasInput checks that Bytes returns a slice of the input, and that an append to it does
// not overwrite the input.
func TestBytesAliasInput(t *testing.T) {
	in := []byte("\x02abc")
	r := NewReader(in)
	got := r.Bytes()
	if &got[0] != &in[1] {
		t.Error("the bytes were copied")
	}
	if _ = append(got, 'x'); string(in) != "\x02abc" {
		t.Errorf("an append has changed the input to %q", in)
	}
}

// TestReadingAllocatesOnlyTexts checks that only Text allocates.
func TestReadingAllocatesOnlyTexts(t *testing.T) {
	in := AppendBytes(binary.BigEndian.AppendUint64(binary.AppendUvarint(nil, 300), 7), []byte("value"))
	if n := testing.AllocsPerRun(100, func() {
		r := NewReader(in)
		if r.Uvarint() != 300 || r.Uint64() != 7 || len(r.Bytes()) != 5 || r.End() != nil {
			t.Error("wrong pieces")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzReader runs a random program of reads on random bytes: no read panics, each returns the next
// bytes of the input, and after an error all return zero values.
func FuzzReader(f *testing.F) {
	f.Add([]byte("bunitTcr"), []byte("a\x01\x02\x00\x00\x00\x00\x00\x00\x00\x07\x01x\x01y\x00rest"))
	f.Add([]byte("lo"), []byte("\x02\x01a\x00\x02\x01b"))
	f.Add([]byte("o"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte("uuu"), []byte("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"))
	f.Add([]byte("tc"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, program, in []byte) {
		before := bytes.Clone(in)
		r := NewReader(in)
		failed := ""
		for _, op := range program {
			left := r.Len()
			var got any
			switch op {
			case 'b':
				got = r.Byte()
			case 'u':
				got = r.Uvarint()
			case 'n':
				got = r.Varint()
			case 'i':
				got = r.Uint64()
			case 't':
				if b := r.Bytes(); cap(b) != len(b) {
					t.Fatalf("%d bytes with room for %d", len(b), cap(b))
				}
			case 'T':
				got = r.Text()
			case 'c':
				if n := r.Count(); n > r.Len() {
					t.Fatalf("a list of %d in %d bytes", n, r.Len())
				}
			case 'l':
				if list := r.Texts(); len(list) > left {
					t.Fatalf("a list of %d texts in %d bytes", len(list), left)
				}
			case 'o':
				if list := r.OptionalTexts(); cap(list) > left {
					t.Fatalf("a list of %d texts with room for %d in %d bytes", len(list), cap(list), left)
				}
			case 'r':
				if len(r.Rest()) != left || r.Len() != 0 {
					t.Fatal("not all was left")
				}
			}
			err := r.Err()
			switch {
			case r.Len() > left:
				t.Fatalf("%d bytes left, before that %d", r.Len(), left)
			case failed != "" && (err == nil || err.Error() != failed):
				t.Fatalf("error %v, before that %s", err, failed)
			case failed == "" && err != nil:
				failed = err.Error()
				if at := fmt.Sprintf("byte %d of %d: ", len(in)-left, len(in)); !strings.ContainsRune("tTclo", rune(op)) && !strings.HasPrefix(failed, at) {
					t.Fatalf("%q at %s", failed, at)
				}
			}
			if failed != "" && (r.Len() != 0 || got != nil && got != byte(0) && got != uint64(0) && got != int64(0) && got != "") {
				t.Fatalf("%v and %d bytes left after an error", got, r.Len())
			}
		}
		if err := r.End(); err == nil && r.Len() != 0 {
			t.Fatalf("%d bytes left at the end", r.Len())
		}
		if !bytes.Equal(in, before) {
			t.Fatal("reading has changed the input")
		}
	})
}
