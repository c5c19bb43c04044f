package integrity

import (
	"errors"
	"slices"
	"testing"

	"cairn/internal/mvcc"
)

// TestCompareHashes finds the damaged members by their responses.
func TestCompareHashes(t *testing.T) {
	hash := func(id uint64, sum uint32) PeerHash {
		return PeerHash{Member: id, Hash: mvcc.Hash{Sum: sum, Revision: 9, CompactRevision: 3}}
	}
	compacted, behind := hash(7, 99), hash(8, 98)
	compacted.Hash.CompactRevision, behind.Hash.Revision = 4, 8
	silent := PeerHash{Member: 9, Err: errors.New("unreachable")}
	for name, c := range map[string]struct {
		others []PeerHash
		want   []uint64
		told   int
	}{
		"alone":                           {nil, nil, 1},
		"no other member to compare with": {[]PeerHash{compacted, behind, silent}, nil, 1},
		"equal":                           {[]PeerHash{hash(2, 5), hash(3, 5), silent}, nil, 3},
		"one other member differs":        {[]PeerHash{hash(2, 6), hash(3, 5), behind}, []uint64{2}, 3},
		"the leader differs":              {[]PeerHash{hash(2, 6), hash(3, 6)}, []uint64{1}, 3},
		"two of two":                      {[]PeerHash{hash(2, 6)}, []uint64{0}, 2},
		"all differ":                      {[]PeerHash{hash(2, 6), hash(3, 7)}, []uint64{0}, 3},
		"a minority of different":         {[]PeerHash{hash(2, 6), hash(3, 5), hash(4, 7), hash(5, 5)}, []uint64{2, 4}, 5},
	} {
		if d := compareHashes(hash(1, 5), c.others); !slices.Equal(d.members, c.want) || d.compared != c.told {
			t.Errorf("%s: %+v, want %v of %d", name, d, c.want, c.told)
		}
	}
}
