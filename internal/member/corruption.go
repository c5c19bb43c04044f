package member

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"cairn/internal/alarm"
	"cairn/internal/mvcc"
)

// Members apply the same commands, so that the checksums of their keys as of the same revision,
// with the same history before it, are equal; or a disk, or a bug, has damaged one of them. The
// leader compares them, and raises the alarm.

// PeerHash is the checksum that a member has answered with, or why there is none.
type PeerHash struct {
	Member uint64
	Hash   mvcc.Hash
	Err    error
}

// PeerHashes asks the other members for the checksums of their keys as of a revision.
type PeerHashes interface {
	PeerHashes(ctx context.Context, revision int64) []PeerHash
}

// CorruptionChecks says how often the leader compares: all of the present keys
// (--corrupt-check-time), and what there is at the revision of the last compaction, when that is a
// new one (--compact-hash-check-time). 0 is never.
type CorruptionChecks struct {
	Present, Compacted time.Duration
}

// damage is what comparing checksums has found.
type damage struct {
	members []uint64 // 0 stands for one or more that cannot be told
	told    int      // checksums that could be compared
}

// compareHashes finds out who differs. Checksums of different revisions or compactions say nothing
// about each other. Where more than half of those that can be compared agree, the others are
// damaged; otherwise nobody knows who is.
func compareHashes(own PeerHash, others []PeerHash) (d damage) {
	count := map[uint32]int{own.Hash.Sum: 1}
	answers := []PeerHash{own}
	for _, o := range others {
		if o.Err == nil && o.Hash.Revision == own.Hash.Revision && o.Hash.CompactRevision == own.Hash.CompactRevision {
			answers = append(answers, o)
			count[o.Hash.Sum]++
		}
	}
	d.told = len(answers)
	if len(count) == 1 {
		return d
	}
	for sum, n := range count {
		if 2*n <= len(answers) {
			continue
		}
		for _, c := range answers {
			if c.Hash.Sum != sum {
				d.members = append(d.members, c.Member)
			}
		}
		return d
	}
	d.members = []uint64{0}
	return d
}

// checkHashes compares the members' keys as of a revision and raises the alarm where they differ.
// It reports whether there was anybody to compare with.
func (m *Member) checkHashes(ctx context.Context, peers PeerHashes, revision int64) (compared bool, err error) {
	own, err := m.pacedHash(ctx, revision)
	if err != nil {
		return false, fmt.Errorf("hash own keys at revision %d: %w", revision, err)
	}
	others := peers.PeerHashes(ctx, own.Revision)
	d := compareHashes(PeerHash{Member: m.cfg.ID, Hash: own}, others)
	for _, o := range others {
		if o.Err != nil {
			m.log.Debug("member tells no hash", "member_id", o.Member, "revision", own.Revision, "error", o.Err)
		}
	}
	for _, id := range d.members {
		m.log.Error("members differ in their data", "member_id", id, "revision", own.Revision, "compact_revision", own.CompactRevision)
		if _, ok := m.Alarms().Find(alarm.Corrupt, id); !ok {
			m.signalAlarm(alarm.Raise, alarm.Corrupt, id)
		}
	}
	return d.told > 1, nil
}

// RunCorruptionChecks compares until the context ends. Only a leader that has others to compare
// with does.
func (m *Member) RunCorruptionChecks(ctx context.Context, c CorruptionChecks, peers PeerHashes) {
	present, stopPresent := every(c.Present)
	defer stopPresent()
	compacted, stopCompacted := every(c.Compacted)
	defer stopCompacted()
	checked := int64(0) // the compaction that was compared last
	for {
		revision := int64(0)
		select {
		case <-ctx.Done():
			return
		case <-m.stopping:
			return
		case <-m.failed:
			return
		case <-present:
		case <-compacted:
			if revision = m.Keys().Head().CompactRevision; revision <= checked {
				continue
			}
		}
		if !m.leads.Load() || len(m.Members()) < 2 {
			continue
		}
		compared, err := m.checkHashes(ctx, peers, revision)
		switch {
		case err == nil && compared && revision > 0:
			checked = revision
		case err != nil && !errors.Is(err, mvcc.ErrCompacted) && ctx.Err() == nil && !m.done():
			m.log.Warn("check for damaged data", "error", err)
		}
	}
}

// every returns a ticker's channel, or one that never has anything.
func every(d time.Duration) (<-chan time.Time, func()) {
	if d <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// ErrDamaged says that this member's data is not what the other members have.
var ErrDamaged = errors.New("data differs from that of the other members")

// CheckAtStart compares this member's keys with the others' before it serves anybody. It returns
// ErrDamaged when it is not they who must be damaged; members that cannot answer are passed over.
func (m *Member) CheckAtStart(ctx context.Context, peers PeerHashes) error {
	if len(m.Members()) < 2 {
		return nil
	}
	own, err := m.HashKV(ctx, 0)
	if err != nil {
		return fmt.Errorf("hash own keys: %w", err)
	}
	d := compareHashes(PeerHash{Member: m.cfg.ID, Hash: own}, peers.PeerHashes(ctx, own.Revision))
	for _, id := range d.members {
		if id == m.cfg.ID || id == 0 {
			return fmt.Errorf("revision %d: %w", own.Revision, ErrDamaged)
		}
	}
	return nil
}

// hashIdleShare is how much longer a check rests than it reads: it takes a fifth of a disk's or a
// core's time at most.
const hashIdleShare = 4

// pacedHash is HashKV for checks that nobody waits for. A member makes one at a time.
func (m *Member) pacedHash(ctx context.Context, revision int64) (mvcc.Hash, error) {
	select {
	case m.hashing <- struct{}{}:
		defer func() { <-m.hashing }()
	case <-ctx.Done():
		return mvcc.Hash{}, ctx.Err()
	}
	began := m.now()
	return m.Keys().Hash(revision, func() error {
		rest := time.NewTimer(hashIdleShare * (m.now() - began))
		defer rest.Stop()
		select {
		case <-rest.C:
		case <-ctx.Done():
		case <-m.stopping:
		}
		began = m.now()
		return m.ended(ctx)
	})
}

// peerHashPath is the call that asks a member for a checksum: the revision, for sum (4), revision
// and compact revision, 8 bytes each but the sum.
const peerHashPath = "member/hashkv"

// peerHashTimeout bounds how long a member may take to read all of its keys at its leisure.
const peerHashTimeout = 2 * time.Hour

// PeerHashes asks all other members at once.
func (m *Member) PeerHashes(ctx context.Context, revision int64) []PeerHash {
	ctx, cancel := context.WithTimeout(ctx, peerHashTimeout)
	defer cancel()
	answers := make(chan PeerHash)
	asked := 0
	for _, other := range m.Members() {
		if other.ID == m.cfg.ID {
			continue
		}
		asked++
		go func() {
			h, err := m.askHash(ctx, other.ID, revision)
			answers <- PeerHash{Member: other.ID, Hash: h, Err: err}
		}()
	}
	hashes := make([]PeerHash, 0, asked)
	for range asked {
		hashes = append(hashes, <-answers)
	}
	return hashes
}

func (m *Member) askHash(ctx context.Context, id uint64, revision int64) (h mvcc.Hash, err error) {
	b, err := m.transport.Call(ctx, id, peerHashPath, binary.BigEndian.AppendUint64(nil, uint64(revision)))
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

func (m *Member) answerHash(ctx context.Context, _ uint64, body []byte) ([]byte, error) {
	if len(body) != 8 {
		return nil, fmt.Errorf("asked for a hash: %d bytes, want 8", len(body))
	}
	h, err := m.pacedHash(ctx, int64(binary.BigEndian.Uint64(body)))
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint32(nil, h.Sum)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, uint64(h.Revision)), uint64(h.CompactRevision)), nil
}
