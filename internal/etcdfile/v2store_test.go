package etcdfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// appendField appends a field of bytes to a protobuf message.
func appendField(dst []byte, number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), b)
}

// v2Snapshot returns a snapshot file with a store's JSON.
func v2Snapshot(store string) []byte {
	data := appendField(nil, 1, []byte(store))
	file := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(crc32.Checksum(data, castagnoli)))
	return appendField(file, 2, data)
}

// FuzzReadSnapshot reads random bytes, and random content with the right checksums of both formats,
// without a panic; anything but a snapshot is an error.
func FuzzReadSnapshot(f *testing.F) {
	const state = `{"CurrentIndex":3,"Root":{"Path":"/","Children":{"1":{"Path":"/1","Children":{"a":{"Path":"/1/a","ExpireTime":"2017-04-10T11:46:46.5Z"},"b":null}}}}}`
	const inJSON, inSnapshot = 1, 2
	f.Add([]byte("00000000\n"), 0)
	f.Add(v2Snapshot(state), 0)
	f.Add([]byte(state), inJSON)
	f.Add([]byte(state), inSnapshot)
	f.Fuzz(func(t *testing.T, file []byte, within int) {
		switch within {
		case inJSON:
			body, err := json.Marshal(map[string]any{"state": file})
			if err != nil {
				t.Fatal(err)
			}
			file = fmt.Appendf(nil, "%08x\n%s", crc32.ChecksumIEEE(body), body)
		case inSnapshot:
			file = v2Snapshot(string(file))
		}
		s, err := ParseV2Snapshot(file)
		if err == nil && s.Root == nil || err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNoV2Snapshot) {
			t.Errorf("%x: %v", file, err)
		}
	})
}

func TestReadV2SnapshotRefusesAnotherChecksum(t *testing.T) {
	whole := v2Snapshot(`{"CurrentIndex":3,"Root":{"Path":"/"}}`)
	path := filepath.Join(t.TempDir(), "0000000000000001-0000000000000001.snap")
	for at := range whole {
		damaged := append([]byte(nil), whole...)
		damaged[at] ^= 0x11
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := new(V2Store).read(path); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v, want ErrCorrupt", at, err)
		}
	}
}

// FuzzParseV2Request parses random bytes without a panic.
func FuzzParseV2Request(f *testing.F) {
	request := appendField(appendField(nil, 2, []byte("PUT")), 3, []byte("/1/a"))
	f.Add(request)
	f.Add(appendField(nil, 2, request))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, ok, err := ParseV2Request(data); ok && (err != nil || r.Method == "") {
			t.Errorf("%x: %+v, %v", data, r, err)
		}
	})
}

// TestParseV2Request parses a bare request, as etcd 3.1 writes it, and one within another message.
func TestParseV2Request(t *testing.T) {
	request := appendField(appendField(nil, 2, []byte("PUT")), 3, []byte("/1/a"))
	for _, data := range [][]byte{request, appendField(nil, 2, request)} {
		if r, ok, err := ParseV2Request(data); !ok || err != nil || r.Method != "PUT" || r.Path != "/1/a" {
			t.Errorf("%x: %+v, %t, %v", data, r, ok, err)
		}
	}
	if _, ok, err := ParseV2Request(appendField(nil, 3, []byte("range"))); ok || err != nil {
		t.Errorf("a request of v3: %t, %v", ok, err)
	}
}
