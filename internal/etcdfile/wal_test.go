package etcdfile

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// memoryFile is a file of a log in memory.
type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error { return nil }

func (memoryFile) Name() string { return "0.wal" }

// appendRecord appends a record of a log, without its checksum.
func appendRecord(log []byte, kind uint64, data []byte) []byte {
	record := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), kind)
	record = appendField(record, 3, data)
	return append(binary.LittleEndian.AppendUint64(log, uint64(len(record))), record...)
}

// smallLog returns a log with each type of record.
func smallLog(t testing.TB) (log []byte) {
	t.Helper()
	marshal := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	log = appendRecord(nil, recordCRC, nil)
	log = appendRecord(log, recordMetadata, []byte("metadata"))
	log = appendRecord(log, recordSnapshot, nil)
	for index := range uint64(3) {
		data := appendField(appendField(nil, 2, []byte("PUT")), 3, []byte("/1/a"))
		log = appendRecord(log, recordEntry, marshal(&raftpb.Entry{Index: proto.Uint64(index + 1), Term: proto.Uint64(1), Data: data}))
	}
	return appendRecord(log, recordState, marshal(&raftpb.HardState{Term: proto.Uint64(1), Commit: proto.Uint64(3)}))
}

// FuzzImportLog opens logs with random content, which may fail but not panic, and reads their
// entries. With sealed the checksums of the records are right. Nothing is written to a disk, and
// the package is small: each execution compares the counters of all packages of the test.
func FuzzImportLog(f *testing.F) {
	f.Add(smallLog(f), uint64(0), true)
	f.Add(sealWAL(smallLog(f)), uint64(1), false)
	f.Add([]byte{}, uint64(0), false)
	f.Fuzz(func(t *testing.T, b []byte, after uint64, sealed bool) {
		if sealed {
			b = sealWAL(b)
		}
		w := &WAL{after: after, first: after + 1}
		err := w.addFile(memoryFile{bytes.NewReader(b)}, int64(len(b)), true)
		if err == nil {
			err = w.checkEnd()
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "0.wal, offset ") {
				t.Errorf("%v does not name the file and the offset", err)
			}
			return
		}
		n := uint64(0)
		err = w.Entries(w.Last(), func(e *raftpb.Entry) error {
			if n++; e.GetIndex() != after+n {
				t.Errorf("entry %d, want %d", e.GetIndex(), after+n)
			}
			_, _, _ = ParseV2Request(e.Data)
			return nil
		})
		if err == nil && after+n != w.Last() || w.Commit() > w.Last() {
			t.Errorf("%d entries behind %d, the last one is %d, committed %d", n, after, w.Last(), w.Commit())
		}
	})
}

// TestSmallLog: the log of the seed is valid, so that the fuzzer begins with every type of record.
func TestSmallLog(t *testing.T) {
	log := sealWAL(smallLog(t))
	w := &WAL{first: 1}
	if err := w.addFile(memoryFile{bytes.NewReader(log)}, int64(len(log)), true); err != nil || w.Last() != 3 || w.Commit() != 3 {
		t.Errorf("the log ends with entry %d, committed %d, %v; want 3", w.Last(), w.Commit(), err)
	}
}

// sealWAL returns a log with the records of b, as far as they can be parsed, and right checksums.
func sealWAL(b []byte) (log []byte) {
	sum, table := uint32(0), castagnoli
	for len(b) >= 8 {
		n := binary.LittleEndian.Uint64(b)
		length, padding := int(n&(1<<20-1)), int(n>>63*(n>>56&7))
		if b = b[8:]; n == 0 || length+padding > len(b) {
			return log
		}
		kind, data := uint64(0), []byte(nil)
		for record := b[:length]; len(record) > 0; {
			number, typ, n := protowire.ConsumeTag(record)
			if n < 0 {
				return log
			}
			record = record[n:]
			if n = protowire.ConsumeFieldValue(number, typ, record); n < 0 {
				return log
			}
			switch {
			case number == 1 && typ == protowire.VarintType:
				kind, _ = protowire.ConsumeVarint(record)
			case number == 3 && typ == protowire.BytesType:
				data, _ = protowire.ConsumeBytes(record)
			}
			record = record[n:]
		}
		if kind != recordCRC {
			sum = crc32.Update(sum, table, data)
		}
		record := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), kind)
		record = protowire.AppendVarint(protowire.AppendTag(record, 2, protowire.VarintType), uint64(sum))
		if data != nil {
			record = protowire.AppendBytes(protowire.AppendTag(record, 3, protowire.BytesType), data)
		}
		pad := (8 - len(record)%8) % 8
		head := uint64(len(record))
		if pad > 0 {
			head |= uint64(0x80|pad) << 56
		}
		log = append(append(binary.LittleEndian.AppendUint64(log, head), record...), make([]byte, pad)...)
		b = b[length+padding:]
	}
	return log
}
