package integrity

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"cairn/internal/mvcc"
	"cairn/internal/peer"
)

// Calls are calls between members; a member's transport makes them.
type Calls interface {
	Register(path string, h peer.CallHandler)
	Call(ctx context.Context, id uint64, path string, body []byte) ([]byte, error)
}

// PeerHash is the checksum of another member, or the error.
type PeerHash struct {
	Member uint64
	Hash   mvcc.Hash
	Err    error
}

// hashPath is the path of the call that requests a checksum: the revision, for sum (4 bytes),
// revision and compact revision (8 bytes each).
const hashPath = "member/hashkv"

// hashTimeout is the maximum time in which a member reads all of its keys at the pace of pacedHash.
const hashTimeout = 2 * time.Hour

// PeerHashes requests from all other members concurrently the checksums of their keys as of a
// revision.
func (c *Checks) PeerHashes(ctx context.Context, revision int64) []PeerHash {
	ctx, cancel := context.WithTimeout(ctx, hashTimeout)
	defer cancel()
	replies := make(chan PeerHash)
	asked := 0
	for _, other := range c.o.Member.Members() {
		if other.ID == c.o.ID {
			continue
		}
		asked++
		go func() {
			h, err := c.askHash(ctx, other.ID, revision)
			replies <- PeerHash{Member: other.ID, Hash: h, Err: err}
		}()
	}
	hashes := make([]PeerHash, 0, asked)
	for range asked {
		hashes = append(hashes, <-replies)
	}
	return hashes
}

func (c *Checks) askHash(ctx context.Context, id uint64, revision int64) (h mvcc.Hash, err error) {
	b, err := c.o.Calls.Call(ctx, id, hashPath, binary.BigEndian.AppendUint64(nil, uint64(revision)))
	if err != nil {
		return h, fmt.Errorf("ask member %x for a hash: %w", id, err)
	}
	if len(b) != 20 {
		return h, fmt.Errorf("ask member %x for a hash: answer of %d bytes, want 20", id, len(b))
	}
	h.Sum = binary.BigEndian.Uint32(b)
	h.Revision, h.CompactRevision = int64(binary.BigEndian.Uint64(b[4:])), int64(binary.BigEndian.Uint64(b[12:]))
	return h, nil
}

func (c *Checks) serveHash(ctx context.Context, _ uint64, body []byte) ([]byte, error) {
	if len(body) != 8 {
		return nil, fmt.Errorf("asked for a hash: %d bytes, want 8", len(body))
	}
	h, err := c.pacedHash(ctx, int64(binary.BigEndian.Uint64(body)))
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint32(nil, h.Sum)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, uint64(h.Revision)), uint64(h.CompactRevision)), nil
}

// idleShare is the ratio of a paced checksum's pauses to its reads: it uses at most a fifth of a
// disk's or a core's time.
const idleShare = 4

// pacedHash is HashKV for checks that no client waits for. A member computes one at a time.
func (c *Checks) pacedHash(ctx context.Context, revision int64) (mvcc.Hash, error) {
	select {
	case c.hashing <- struct{}{}:
		defer func() { <-c.hashing }()
	case <-ctx.Done():
		return mvcc.Hash{}, ctx.Err()
	}
	began := time.Now()
	return c.o.State.Hash(revision, func() error {
		pause := time.NewTimer(idleShare * time.Since(began))
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		began = time.Now()
		return c.ended(ctx)
	})
}
