package backup

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"cairn/internal/etcdfile"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// expectedNode is a node as in etcd's response.
type expectedNode struct {
	Key           string         `json:"key"`
	Value         string         `json:"value"`
	Dir           bool           `json:"dir"`
	CreatedIndex  int64          `json:"createdIndex"`
	ModifiedIndex int64          `json:"modifiedIndex"`
	TTL           int64          `json:"ttl"`
	Nodes         []expectedNode `json:"nodes"`
}

type expectedV2 struct {
	Keys      struct{ Node expectedNode } `json:"keys"`
	Hidden    struct{ Node expectedNode } `json:"hidden"`
	Passwords map[string]string           `json:"passwords"`
	Roles     struct {
		Roles []v2Role `json:"roles"`
	} `json:"roles"`
}

func importedV2(t *testing.T, dir string) (*machine.Machine, Imported) {
	t.Helper()
	d, err := etcdfile.OpenV2Dir(dir, "")
	must(t, err)
	to := target(filepath.Join(t.TempDir(), "imported"))
	found, err := ImportV2(d, to, nil)
	must(t, errors.Join(err, d.Close()))
	_, m := content(t, to.Dir)
	return m, found
}

// TestImportOfV2HasWhatEtcdHad imports a data directory of etcd 3.1.5 with a snapshot and a log
// behind it, and the backup of it by `etcdctl backup`.
func TestImportOfV2HasWhatEtcdHad(t *testing.T) {
	for _, archive := range []string{"3.1.5-v2.data-dir.tar.gz", "3.1.5-v2.backup.tar.gz"} {
		t.Run(archive, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", "etcd", "3.1.5-v2.expected.json"))
			must(t, err)
			var want expectedV2
			must(t, json.Unmarshal(text, &want))
			m, found := importedV2(t, unpack(t, archive))
			if found.Revision != 107 || found.CompactRevision != 60 || found.Uncommitted != 0 {
				t.Errorf("found %+v, want revision 107, compacted at 60", found)
			}
			for _, node := range []expectedNode{want.Keys.Node, want.Hidden.Node} {
				path := node.Key // the root has no key
				if path == "" {
					path = "/"
				}
				got, _, err := v2tree.Get(m.Keys().Reading, []byte(path), true, m.ClusterTime(), mvcc.Unlimited)
				must(t, err)
				compareNodes(t, &got, node)
			}
			state := m.Auth().State()
			if !state.Enabled {
				t.Error("authentication is disabled, was enabled")
			}
			checkPasswords(t, m, want.Passwords)
			for _, w := range want.Roles.Roles {
				if w.Role == "root" {
					continue // the role root exists always
				}
				role, patterns := state.Role(w.Role), w.Permissions.KV
				if role == nil || !slices.Equal(role.Read, patterns.Read) || !slices.Equal(role.Write, patterns.Write) {
					t.Errorf("role %s is %+v, want %+v", w.Role, role, patterns)
				}
			}
		})
	}
}

func compareNodes(t *testing.T, got *v2tree.Node, want expectedNode) {
	t.Helper()
	ttl := int64(got.Left.Seconds())
	// The TTL continues from the time at which the log ends.
	if string(got.Key) != want.Key || string(got.Value) != want.Value || got.Dir != want.Dir || got.Expires != (want.TTL > 0) ||
		got.Expires && (ttl < want.TTL-60 || ttl > want.TTL+60) {
		t.Errorf("node %+v, want %+v", got, want)
	}
	if want.Key != "" && (got.Created != want.CreatedIndex || got.Modified != want.ModifiedIndex) {
		t.Errorf("node %s: indexes %d and %d, want %d and %d", want.Key, got.Created, got.Modified, want.CreatedIndex, want.ModifiedIndex)
	}
	if len(got.Nodes) != len(want.Nodes) {
		t.Errorf("node %s has %d nodes, want %d", want.Key, len(got.Nodes), len(want.Nodes))
		return
	}
	byKey := make(map[string]expectedNode)
	for _, n := range want.Nodes {
		byKey[n.Key] = n
	}
	for i := range got.Nodes {
		compareNodes(t, &got.Nodes[i], byKey[string(got.Nodes[i].Key)])
	}
}
