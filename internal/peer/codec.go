package peer

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Messages are encoded as protobuf, so that fields of later raft versions are carried, too. Encoder
// and decoder are hand-written, because there are tens of thousands of messages a second: the
// generated code allocates each number of a proto2 message separately, and copies each entry.

// Tags of raftpb.Message and raftpb.Entry: the field's number times eight, plus its wire type.
const (
	tagType       = 0x08
	tagTo         = 0x10
	tagFrom       = 0x18
	tagTerm       = 0x20
	tagLogTerm    = 0x28
	tagIndex      = 0x30
	tagEntries    = 0x3a
	tagCommit     = 0x40
	tagReject     = 0x50
	tagRejectHint = 0x58
	tagContext    = 0x62
	tagResponses  = 0x72
	tagVote       = 0x68

	tagEntryType  = 0x08
	tagEntryTerm  = 0x10
	tagEntryIndex = 0x18
	tagEntryData  = 0x22
)

// entriesMax is the maximum number of entries in one message. A sender whose messages have at most
// a megabyte of entries stays below it; an empty entry has two bytes on the wire and over a hundred
// in memory.
const entriesMax = 1 << 18

var errMessage = errors.New("not a raft message")

// handCoded reports whether appendMessage supports all fields of a message. Snapshots are rare, and
// responses never leave a member.
func handCoded(m *raftpb.Message) bool { return m.Snapshot == nil && len(m.Responses) == 0 }

// messageSize returns the encoded length of a message.
func messageSize(m *raftpb.Message) int {
	if !handCoded(m) {
		return proto.Size(m)
	}
	n := sizeEnum(m.Type) + sizeUint(m.To) + sizeUint(m.From) + sizeUint(m.Term) + sizeUint(m.LogTerm) + sizeUint(m.Index) +
		sizeUint(m.Commit) + sizeUint(m.RejectHint) + sizeUint(m.Vote)
	if m.Reject != nil {
		n += 2
	}
	if m.Context != nil {
		n += 1 + protowire.SizeBytes(len(m.Context))
	}
	for _, e := range m.Entries {
		n += 1 + protowire.SizeBytes(entrySize(e))
	}
	return n
}

func entrySize(e *raftpb.Entry) int {
	n := sizeEnum(e.Type) + sizeUint(e.Term) + sizeUint(e.Index)
	if e.Data != nil {
		n += 1 + protowire.SizeBytes(len(e.Data))
	}
	return n
}

func sizeUint(v *uint64) int {
	if v == nil {
		return 0
	}
	return 1 + protowire.SizeVarint(*v)
}

func sizeEnum[E ~int32](v *E) int {
	if v == nil {
		return 0
	}
	return 1 + protowire.SizeVarint(uint64(*v))
}

func appendUint(b []byte, tag byte, v *uint64) []byte {
	if v == nil {
		return b
	}
	return protowire.AppendVarint(append(b, tag), *v)
}

func appendEnum[E ~int32](b []byte, tag byte, v *E) []byte {
	if v == nil {
		return b
	}
	return protowire.AppendVarint(append(b, tag), uint64(*v))
}

// appendMessage appends a message to a batch. It references the data of large entries instead of
// copying them.
func (b *batch) appendMessage(m *raftpb.Message) error {
	if !handCoded(m) {
		var err error
		b.buf, err = proto.MarshalOptions{}.MarshalAppend(b.buf, m)
		return err
	}
	buf := appendEnum(b.buf, tagType, m.Type)
	buf = appendUint(buf, tagTo, m.To)
	buf = appendUint(buf, tagFrom, m.From)
	buf = appendUint(buf, tagTerm, m.Term)
	buf = appendUint(buf, tagLogTerm, m.LogTerm)
	buf = appendUint(buf, tagIndex, m.Index)
	for _, e := range m.Entries {
		buf = protowire.AppendVarint(append(buf, tagEntries), uint64(entrySize(e)))
		buf = appendEnum(buf, tagEntryType, e.Type)
		buf = appendUint(buf, tagEntryTerm, e.Term)
		buf = appendUint(buf, tagEntryIndex, e.Index)
		if e.Data == nil {
			continue
		}
		buf = protowire.AppendVarint(append(buf, tagEntryData), uint64(len(e.Data)))
		if b.refer && len(e.Data) >= referBytesMin {
			b.parts = append(b.parts, part{at: len(buf), data: e.Data})
			b.referred += len(e.Data)
		} else {
			buf = append(buf, e.Data...)
		}
	}
	buf = appendUint(buf, tagCommit, m.Commit)
	if m.Reject != nil {
		var v byte
		if *m.Reject {
			v = 1
		}
		buf = append(buf, tagReject, v)
	}
	buf = appendUint(buf, tagRejectHint, m.RejectHint)
	if m.Context != nil {
		buf = protowire.AppendBytes(append(buf, tagContext), m.Context)
	}
	b.buf = appendUint(buf, tagVote, m.Vote)
	return nil
}

// received is a message with storage for its numbers, so that it is one allocation.
type received struct {
	m                                                          raftpb.Message
	typ                                                        raftpb.MessageType
	to, from, term, logTerm, index, commit, rejectHint, voteID uint64
	reject                                                     bool
}

// receivedEntry is the same for an entry; those of a message are allocated together.
type receivedEntry struct {
	e           raftpb.Entry
	typ         raftpb.EntryType
	term, index uint64
}

// decodeMessage decodes a message. The result aliases b, unless b is borrowed: then b is copied
// when the result needs a part of it.
func decodeMessage(b []byte, borrowed bool) (*raftpb.Message, error) {
	known, entries := survey(b)
	if entries > entriesMax {
		return nil, fmt.Errorf("%w: it has more than %d entries, or responses", errMessage, entriesMax)
	}
	if !known {
		m := &raftpb.Message{}
		if err := proto.Unmarshal(b, m); err != nil {
			return nil, fmt.Errorf("%w: %w", errMessage, err)
		}
		return m, nil
	}
	r := &received{}
	var room []receivedEntry
	if entries > 0 {
		room, r.m.Entries = make([]receivedEntry, entries), make([]*raftpb.Entry, 0, entries)
	}
	for len(b) > 0 {
		tag := b[0]
		if tag&7 == 0 {
			v, n := protowire.ConsumeVarint(b[1:])
			if n < 0 {
				return nil, errMessage
			}
			r.number(tag, v)
			b = b[1+n:]
			continue
		}
		if borrowed {
			b, borrowed = append([]byte(nil), b...), false
		}
		v, n := protowire.ConsumeBytes(b[1:])
		if n < 0 {
			return nil, errMessage
		}
		b = b[1+n:]
		if tag == tagContext {
			r.m.Context = v[:len(v):len(v)]
			continue
		}
		e := &room[len(r.m.Entries)]
		if err := e.decode(v); err != nil {
			return nil, err
		}
		r.m.Entries = append(r.m.Entries, &e.e)
	}
	return &r.m, nil
}

// survey reports whether decodeMessage supports all fields of a message, and counts its entries.
// For a message with responses the count is above entriesMax: they never leave a member.
func survey(b []byte) (known bool, entries int) {
	for known = true; known && len(b) > 0; {
		n := 0
		switch b[0] {
		case tagType, tagTo, tagFrom, tagTerm, tagLogTerm, tagIndex, tagCommit, tagReject, tagRejectHint, tagVote:
			_, n = protowire.ConsumeVarint(b[1:])
		case tagContext:
			_, n = protowire.ConsumeBytes(b[1:])
		case tagEntries:
			var entry []byte
			entry, n = protowire.ConsumeBytes(b[1:])
			entries++
			known = n > 0 && entryKnown(entry)
		}
		if n <= 0 {
			break
		}
		b = b[1+n:]
	}
	if len(b) == 0 {
		return known, entries
	}
	for len(b) > 0 { // count the entries in any case: the generated code has no limit
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			break
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			break
		}
		switch tag := protowire.EncodeTag(num, typ); tag {
		case tagEntries:
			entries++
		case tagResponses:
			entries = entriesMax + 1
		}
		b = b[n+m:]
	}
	return false, entries
}

// entryKnown reports the same for an entry.
func entryKnown(b []byte) bool {
	for len(b) > 0 {
		n := 0
		switch b[0] {
		case tagEntryType, tagEntryTerm, tagEntryIndex:
			_, n = protowire.ConsumeVarint(b[1:])
		case tagEntryData:
			_, n = protowire.ConsumeBytes(b[1:])
		}
		if n <= 0 {
			return false
		}
		b = b[1+n:]
	}
	return true
}

func (r *received) number(tag byte, v uint64) {
	m := &r.m
	switch tag {
	case tagType:
		r.typ = raftpb.MessageType(v)
		m.Type = &r.typ
	case tagTo:
		r.to, m.To = v, &r.to
	case tagFrom:
		r.from, m.From = v, &r.from
	case tagTerm:
		r.term, m.Term = v, &r.term
	case tagLogTerm:
		r.logTerm, m.LogTerm = v, &r.logTerm
	case tagIndex:
		r.index, m.Index = v, &r.index
	case tagCommit:
		r.commit, m.Commit = v, &r.commit
	case tagReject:
		r.reject, m.Reject = v != 0, &r.reject
	case tagRejectHint:
		r.rejectHint, m.RejectHint = v, &r.rejectHint
	case tagVote:
		r.voteID, m.Vote = v, &r.voteID
	}
}

func (e *receivedEntry) decode(b []byte) error {
	for len(b) > 0 {
		tag := b[0]
		if tag == tagEntryData {
			v, n := protowire.ConsumeBytes(b[1:])
			if n < 0 {
				return errMessage
			}
			e.e.Data = v[:len(v):len(v)]
			b = b[1+n:]
			continue
		}
		v, n := protowire.ConsumeVarint(b[1:])
		if n < 0 {
			return errMessage
		}
		switch tag {
		case tagEntryType:
			e.typ = raftpb.EntryType(v)
			e.e.Type = &e.typ
		case tagEntryTerm:
			e.term, e.e.Term = v, &e.term
		case tagEntryIndex:
			e.index, e.e.Index = v, &e.index
		}
		b = b[1+n:]
	}
	return nil
}
