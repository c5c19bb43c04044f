package backup

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestExportLinesHasWhatEtcdHad applies the changes of a JSON export, and compares the keys at each
// revision for which etcd's keys are recorded.
func TestExportLinesHasWhatEtcdHad(t *testing.T) {
	file, want := etcdSnapshot(t, "3.7.1")
	m, _, _ := imported(t, file)
	path := filepath.Join(t.TempDir(), "export.jsonl")
	done, err := ExportLines(m, path, nil)
	must(t, err)
	text, err := os.ReadFile(path)
	must(t, err)
	if done.Size != int64(len(text)) || done.Revision != 113 || done.Lost != 0 {
		t.Errorf("exported %+v, the file has %d bytes", done, len(text))
	}
	keys, types := map[string]jsonLine{}, map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var line jsonLine
		must(t, json.Unmarshal(lines.Bytes(), &line))
		types[line.Type]++
		switch line.Type {
		case "put":
			keys[string(line.Key)] = line
		case "delete":
			delete(keys, string(line.Key))
		}
	}
	must(t, lines.Err())
	if len(keys) != len(want.At["113"]) {
		t.Errorf("%d keys, want %d", len(keys), len(want.At["113"]))
	}
	for _, w := range want.At["113"] {
		got := keys[string(w.Key)]
		if got.Revision != w.ModRevision || got.CreateRevision != w.CreateRevision || got.Version != w.Version || got.Value == nil {
			t.Errorf("key %q is %+v, want %+v", w.Key, got, w)
		}
	}
	if types["compacted"] != 1 || types["lease"] != 3 || types["user"] != 3 || types["role"] != done.Roles || types["auth"] != 1 {
		t.Errorf("lines by type: %v", types)
	}
	if _, err := ExportLines(m, path, nil); err == nil {
		t.Error("a second export has replaced the file")
	}
}
