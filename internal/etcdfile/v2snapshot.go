package etcdfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// ErrNoV2Snapshot is the error about a file that is not a snapshot of v2 keys.
var ErrNoV2Snapshot = errors.New("neither a snapshot of etcd 0.4 nor one of the v2 keys of etcd 2.0 to 3.5")

// ParseV2Snapshot returns the store in a snapshot file of v2 keys.
//
// A snapshot of etcd 0.4 is a line with the CRC-32 (IEEE) of the rest in hexadecimal, then JSON
// with the store's JSON in "state". One of etcd 2.0 and later is a protobuf message (parse), in
// which the keys are below "/1", and the cluster's own nodes below "/0".
func ParseV2Snapshot(file []byte) (s V2Store, err error) {
	if line, rest, ok := bytes.Cut(file, []byte("\n")); ok && len(line) == crc32.Size*2 {
		if sum, err := strconv.ParseUint(string(line), 16, 32); err == nil {
			return s, s.parse04(rest, uint32(sum))
		}
	}
	return s, s.parse(file)
}

// parse04 parses a snapshot of etcd 0.4 behind its checksum.
func (s *V2Store) parse04(b []byte, recorded uint32) error {
	if computed := crc32.ChecksumIEEE(b); computed != recorded {
		return fmt.Errorf("%w: checksum mismatch: computed %08x, recorded %08x", ErrCorrupt, computed, recorded)
	}
	var old struct {
		State []byte `json:"state"`
	}
	if err := json.Unmarshal(b, &old); err != nil {
		return fmt.Errorf("%w: %w", ErrNoV2Snapshot, err)
	}
	return s.parseStore(old.State)
}

// parse parses a snapshot of etcd 2.0 and later: 1 checksum, 2 a raft snapshot, whose data is the
// store.
func (s *V2Store) parse(file []byte) error {
	var recorded uint32
	var data []byte
	err := eachField(file, func(number protowire.Number, value uint64, bytes []byte) {
		switch number {
		case 1:
			recorded = uint32(value)
		case 2:
			data = bytes
		}
	})
	if err == nil && data == nil {
		err = fmt.Errorf("%w: it has no raft snapshot", ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoV2Snapshot, err)
	}
	if computed := crc32.Checksum(data, castagnoli); computed != recorded {
		return fmt.Errorf("%w: checksum mismatch: computed %08x, recorded %08x", ErrCorrupt, computed, recorded)
	}
	var snapshot raftpb.Snapshot
	if err := unmarshal(data, &snapshot); err != nil {
		return err
	}
	if len(snapshot.Data) == 0 {
		return fmt.Errorf("%w: the snapshot has no v2 keys: etcd 3.6 and later write none", ErrCorrupt)
	}
	s.Entry = snapshot.GetMetadata().GetIndex()
	return s.parseStore(snapshot.Data)
}

// parseStore parses the JSON of a store.
func (s *V2Store) parseStore(b []byte) error {
	if err := json.Unmarshal(b, s); err != nil {
		return fmt.Errorf("%w: v2 store: %w", ErrCorrupt, err)
	}
	if s.Root == nil || s.CurrentIndex < 0 {
		return fmt.Errorf("%w: there is no v2 store in it", ErrCorrupt)
	}
	return s.Root.checkChildren()
}

// checkChildren returns an error if the JSON has null in the place of a node.
func (n *V2Node) checkChildren() error {
	for name, child := range n.Children {
		if child == nil {
			return fmt.Errorf("%w: v2 store: node %q of %q is null", ErrCorrupt, name, n.Path)
		}
		if err := child.checkChildren(); err != nil {
			return err
		}
	}
	return nil
}
