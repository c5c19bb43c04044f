package v2cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"cairn/internal/etcdfile"
)

var snapshotNow = time.Date(2017, 4, 10, 11, 46, 45, 0, time.UTC)

// TestReadSnapshotOf04 reads the format of etcd 0.4; test/v2diff reads that of later versions, from
// snapshots of Debian's etcd.
func TestReadSnapshotOf04(t *testing.T) {
	const state = `{"Root":{"Path":"/","ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{
		"a":{"Path":"/a","Value":"1","ExpireTime":"0001-01-01T00:00:00Z","Children":null},
		"d":{"Path":"/d","ExpireTime":"2017-04-10T11:46:46.5Z","Children":{"k":{"Path":"/d/k","Value":"2","Children":null}}},
		"e":{"Path":"/e","ExpireTime":"2017-04-10T11:46:44Z","Children":{"k":{"Path":"/e/k","Value":"gone","Children":null}}},
		"1":{"Path":"/1","Children":{"k":{"Path":"/1/k","Value":"3","Children":null}}},
		"_etcd":{"Path":"/_etcd","Children":{"x":{"Path":"/_etcd/x","Value":"y","Children":null}}}}},"CurrentIndex":9}`
	body, err := json.Marshal(map[string]any{"state": []byte(state), "lastIndex": 9, "lastTerm": 1})
	if err != nil {
		t.Fatal(err)
	}
	file := fmt.Appendf(nil, "%08x\n%s", crc32.ChecksumIEEE(body), body)
	nodes, err := readSnapshot(file, snapshotNow)
	want := []imported{
		{key: "/1/k", value: "3"},
		{key: "/_etcd/x", value: "y"},
		{key: "/a", value: "1"},
		{key: "/d", dir: true, ttl: 2 * time.Second},
		{key: "/d/k", value: "2"},
	}
	if err != nil || !slices.Equal(nodes, want) {
		t.Errorf("%+v, %v\nwant %+v", nodes, err, want)
	}
	if kept := leaveOutHidden(slices.Clone(nodes), nil); len(kept) != 4 {
		t.Errorf("without what is hidden: %+v", kept)
	}
	file[len(file)-5] ^= 1
	if _, err := readSnapshot(file, snapshotNow); err == nil || !strings.Contains(err.Error(), "checksum mismatch") {
		t.Errorf("a damaged snapshot: %v", err)
	}
}

func TestReadSnapshotRefuses(t *testing.T) {
	for _, text := range []string{"", "hello", "{}", "0000\n", "\x0a\x00", strings.Repeat("\xff", 100)} {
		if _, err := readSnapshot([]byte(text), snapshotNow); !errors.Is(err, etcdfile.ErrNoV2Snapshot) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// TestReadSnapshotRefusesNullNodes: null in the place of a node is damage.
func TestReadSnapshotRefusesNullNodes(t *testing.T) {
	body, err := json.Marshal(map[string]any{"state": []byte(`{"Root":{"Path":"/","Children":{"b":{"Path":"/b","Children":{"a":null}}}}}`)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = readSnapshot(fmt.Appendf(nil, "%08x\n%s", crc32.ChecksumIEEE(body), body), snapshotNow)
	if !errors.Is(err, etcdfile.ErrCorrupt) || !strings.Contains(err.Error(), `node "a" of "/b" is null`) {
		t.Errorf("a node that is null: %v", err)
	}
}
