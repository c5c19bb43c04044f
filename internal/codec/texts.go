package codec

import "encoding/binary"

// A list of texts is stored in two ways. Both stay: records and raft entries have them.

// AppendTexts appends a list of texts as Reader.Texts reads it: how many there are, then each. An
// empty list and nil are the same.
func AppendTexts(dst []byte, texts []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(texts)))
	for _, s := range texts {
		dst = AppendText(dst, s)
	}
	return dst
}

// AppendOptionalTexts appends a list of texts, or nil, as Reader.OptionalTexts reads it: 0 for nil,
// and otherwise one more than there are, then each.
func AppendOptionalTexts(dst []byte, texts []string) []byte {
	if texts == nil {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(texts))+1)
	for _, s := range texts {
		dst = AppendText(dst, s)
	}
	return dst
}

// Texts reads a list of texts, nil for an empty one.
func (r *Reader) Texts() []string { return r.texts(nil, r.Count()) }

// OptionalTexts reads a list of texts that may be nil.
func (r *Reader) OptionalTexts() []string {
	n := r.Uvarint()
	switch {
	case n == 0:
		return nil
	case n-1 > uint64(r.Len()):
		r.Fail("a list of %d items in %d bytes", n-1, r.Len())
		return nil
	}
	return r.texts(make([]string, 0, n-1), int(n-1))
}

// texts reads n texts behind those in dst.
func (r *Reader) texts(dst []string, n int) []string {
	for ; n > 0 && r.err == nil; n-- {
		dst = append(dst, r.Text())
	}
	return dst
}
