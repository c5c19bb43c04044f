package v2cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// imported is a key, or a directory that is empty or has a TTL, of a snapshot.
type imported struct {
	key, value string
	dir        bool
	ttl        time.Duration // 0 is none
}

var errNoSnapshot = errors.New("neither a snapshot of etcd 0.4 nor one of the v2 keys of etcd 2.0 to 3.5")

// readSnapshot returns the nodes of a snapshot in the order of their keys, with their remaining
// TTLs.
//
// A snapshot of etcd 0.4 is a line with the CRC-32 (IEEE) of the rest in hexadecimal, then JSON
// with the store's JSON in "state". One of etcd 2.0 and later is a protobuf message of a CRC-32
// (Castagnoli, field 1) and a raft snapshot (field 2), which has the store's JSON in its field 1;
// there the keys lie below "/1", the cluster's own nodes below "/0".
func readSnapshot(file []byte, now time.Time) ([]imported, error) {
	state, err := stateOf(file)
	if err != nil {
		return nil, err
	}
	var store struct{ Root *storedNode }
	if err := json.Unmarshal(state, &store); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoSnapshot, err)
	}
	if store.Root == nil {
		return nil, errNoSnapshot
	}
	root, prefix := store.Root, ""
	if keys := root.Children["1"]; keys != nil && root.Children["0"] != nil && keys.Children != nil {
		root, prefix = keys, "/1"
	}
	var nodes []imported
	root.gather(prefix, now, &nodes)
	slices.SortFunc(nodes, func(a, b imported) int { return strings.Compare(a.key, b.key) })
	return nodes, nil
}

// stateOf verifies the checksum of a snapshot and returns the store's JSON in it.
func stateOf(file []byte) ([]byte, error) {
	if line, rest, ok := bytes.Cut(file, []byte("\n")); ok && len(line) == 8 {
		if sum, err := strconv.ParseUint(string(line), 16, 32); err == nil {
			if got := crc32.ChecksumIEEE(rest); got != uint32(sum) {
				return nil, fmt.Errorf("checksum mismatch: computed %08x, recorded %08x", got, sum)
			}
			var old struct {
				State []byte `json:"state"`
			}
			if err := json.Unmarshal(rest, &old); err != nil {
				return nil, fmt.Errorf("%w: %w", errNoSnapshot, err)
			}
			return old.State, nil
		}
	}
	outer, sum := protoBytes(file, 2), protoVarint(file, 1)
	if outer == nil {
		return nil, errNoSnapshot
	}
	if got := crc32.Checksum(outer, crc32.MakeTable(crc32.Castagnoli)); uint64(got) != sum {
		return nil, fmt.Errorf("damaged, or not a snapshot: checksum mismatch: computed %08x, recorded %08x", got, sum)
	}
	state := protoBytes(outer, 1)
	if state == nil {
		return nil, errors.New("the snapshot has no v2 keys: etcd 3.6 and later write none")
	}
	return state, nil
}

// protoBytes returns a field of bytes of a message, or nil if the message is invalid or has no such
// field.
func protoBytes(message []byte, field protowire.Number) (found []byte) {
	eachField(message, func(number protowire.Number, kind protowire.Type, value []byte) {
		if b, n := protowire.ConsumeBytes(value); number == field && kind == protowire.BytesType && n >= 0 {
			found = b
		}
	})
	return found
}

func protoVarint(message []byte, field protowire.Number) (found uint64) {
	eachField(message, func(number protowire.Number, kind protowire.Type, value []byte) {
		if v, n := protowire.ConsumeVarint(value); number == field && kind == protowire.VarintType && n >= 0 {
			found = v
		}
	})
	return found
}

func eachField(message []byte, visit func(protowire.Number, protowire.Type, []byte)) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return
		}
		visit(number, kind, message[:n])
		message = message[n:]
	}
}

// storedNode is a node in the store's JSON.
type storedNode struct {
	Path       string
	Value      string
	ExpireTime time.Time
	Children   map[string]*storedNode // nil for a key
}

// permanentBefore: etcd treats earlier expiration times as none.
var permanentBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// gather appends a node and the nodes below it. prefix is removed from the paths.
func (n *storedNode) gather(prefix string, now time.Time, nodes *[]imported) {
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
		child.gather(prefix, now, nodes)
	}
}
