package v2cmd

import (
	"slices"
	"strings"
	"time"

	"cairn/internal/etcdfile"
)

// imported is a key, or a directory that is empty or has a TTL, of a snapshot.
type imported struct {
	key, value string
	dir        bool
	ttl        time.Duration // 0 is none
}

// readSnapshot returns the nodes of a snapshot in the order of their keys, with their remaining
// TTLs.
func readSnapshot(file []byte, now time.Time) ([]imported, error) {
	store, err := etcdfile.ParseV2Snapshot(file)
	if err != nil {
		return nil, err
	}
	root, prefix := store.Root, ""
	if keys := root.Children["1"]; keys != nil && root.Children["0"] != nil && keys.Children != nil {
		root, prefix = keys, "/1"
	}
	var nodes []imported
	gather(root, prefix, now, &nodes)
	slices.SortFunc(nodes, func(a, b imported) int { return strings.Compare(a.key, b.key) })
	return nodes, nil
}

// permanentBefore: etcd treats earlier expiration times as none.
var permanentBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// gather appends a node and the nodes below it. prefix is removed from the paths.
func gather(n *etcdfile.V2Node, prefix string, now time.Time, nodes *[]imported) {
	out := imported{key: strings.TrimPrefix(n.Path, prefix), value: n.Value, dir: n.Children != nil}
	if n.ExpireTime.After(permanentBefore) {
		left := n.ExpireTime.Sub(now)
		if left <= 0 {
			return
		}
		out.ttl = (left + time.Second - 1).Truncate(time.Second) // a TTL is in whole seconds
	}
	isRoot := out.key == "" || out.key == "/"
	if !isRoot && (!out.dir || len(n.Children) == 0 || out.ttl > 0) {
		*nodes = append(*nodes, out)
	}
	for _, child := range n.Children {
		gather(child, prefix, now, nodes)
	}
}
