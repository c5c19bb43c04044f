package etcdfile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"cairn/internal/kv"
)

// The bytes of a revision: main (8), '_', sub (8), and 't' behind a tombstone's.
const (
	revisionBytes  = 17
	tombstoneBytes = 18
	tombstoneMark  = 't'
)

func parseRevision(b []byte) (rev kv.Revision, err error) {
	if len(b) < revisionBytes || b[8] != '_' {
		return rev, fmt.Errorf("%w: %x is no revision", ErrCorrupt, b)
	}
	rev = kv.Revision{Main: int64(binary.BigEndian.Uint64(b)), Sub: int64(binary.BigEndian.Uint64(b[9:]))}
	if rev.Main < 1 || rev.Sub < 0 {
		return rev, fmt.Errorf("%w: revision %d/%d", ErrCorrupt, rev.Main, rev.Sub)
	}
	return rev, nil
}

func appendRevision(dst []byte, rev kv.Revision) []byte {
	dst = append(binary.BigEndian.AppendUint64(dst, uint64(rev.Main)), '_')
	return binary.BigEndian.AppendUint64(dst, uint64(rev.Sub))
}

// Meta is the metadata of the database.
type Meta struct {
	ConsistentIndex uint64 // the last raft entry that it contains
	Term            uint64 // of that entry, 0 before etcd 3.5
	CompactRevision int64  // history before it cannot be read; 0 when nothing was compacted
	StorageVersion  string // "" before etcd 3.6
	ClusterVersion  string
}

// Meta reads the metadata.
func (f *File) Meta() (m Meta, err error) {
	for _, number := range []struct {
		key  string
		into *uint64
	}{{"consistent_index", &m.ConsistentIndex}, {"term", &m.Term}} {
		b, err := f.get(bucketMeta, number.key)
		if err != nil {
			return m, err
		}
		if b != nil && len(b) != 8 {
			return m, fmt.Errorf("%s: %w: %s is %x", f.path, ErrCorrupt, number.key, b)
		}
		if b != nil {
			*number.into = binary.BigEndian.Uint64(b)
		}
	}
	// A scheduled compaction applies to readers, whether or not it has finished.
	for _, key := range []string{"scheduledCompactRev", "finishedCompactRev"} {
		b, err := f.get(bucketMeta, key)
		if err != nil || b == nil {
			if err != nil {
				return m, err
			}
			continue
		}
		rev, err := parseRevision(b)
		if err != nil {
			return m, fmt.Errorf("%s: %s: %w", f.path, key, err)
		}
		m.CompactRevision = max(m.CompactRevision, rev.Main)
	}
	storage, err := f.get(bucketMeta, "storageVersion")
	if err != nil {
		return m, err
	}
	cluster, err := f.get(bucketCluster, "clusterVersion")
	m.StorageVersion, m.ClusterVersion = string(storage), string(cluster)
	return m, err
}

// Lease is one lease.
type Lease struct {
	ID        kv.LeaseID
	TTL       int64 // granted, in seconds
	Remaining int64 // at the last checkpoint, in seconds; 0 when there was none
}

// The fields of etcd's message leasepb.Lease.
const (
	leaseFieldID        = 1
	leaseFieldTTL       = 2
	leaseFieldRemaining = 3
)

// Leases calls visit for every lease.
func (f *File) Leases(visit func(Lease) error) error {
	return f.each(bucketLease, func(key, value []byte) error {
		l, err := leaseOf(key, value)
		if err != nil {
			return err
		}
		return visit(l)
	})
}

// leaseOf returns the lease in a record.
func leaseOf(key, value []byte) (Lease, error) {
	l, err := parseLease(value)
	if err == nil && (len(key) != 8 || kv.LeaseID(binary.BigEndian.Uint64(key)) != l.ID) {
		err = fmt.Errorf("%w: lease %x has the key %x", ErrCorrupt, int64(l.ID), key)
	}
	return l, err
}

func parseLease(b []byte) (l Lease, err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = nextField(b); err != nil {
			return l, fmt.Errorf("%w: lease: %w", ErrCorrupt, err)
		}
		switch {
		case f.kind != protowire.VarintType:
		case f.number == leaseFieldID:
			l.ID = kv.LeaseID(f.value)
		case f.number == leaseFieldTTL:
			l.TTL = int64(f.value)
		case f.number == leaseFieldRemaining:
			l.Remaining = int64(f.value)
		}
	}
	return l, nil
}

func appendLease(dst []byte, l Lease) []byte {
	for _, field := range []struct {
		number protowire.Number
		value  int64
	}{{leaseFieldID, int64(l.ID)}, {leaseFieldTTL, l.TTL}, {leaseFieldRemaining, l.Remaining}} {
		if field.value != 0 {
			dst = protowire.AppendVarint(protowire.AppendTag(dst, field.number, protowire.VarintType), uint64(field.value))
		}
	}
	return dst
}

// Auth is the state of authentication.
type Auth struct {
	Enabled  bool
	Revision uint64
	Users    []*authpb.User
	Roles    []*authpb.Role
}

// Auth reads users and roles.
func (f *File) Auth() (a Auth, err error) {
	enabled, err := f.get(bucketAuth, "authEnabled")
	if err != nil {
		return a, err
	}
	a.Enabled = len(enabled) == 1 && enabled[0] == 1
	revision, err := f.get(bucketAuth, "authRevision")
	if err != nil {
		return a, err
	}
	if len(revision) == 8 {
		a.Revision = binary.BigEndian.Uint64(revision)
	}
	err = f.each(bucketUsers, func(_, value []byte) error {
		u := new(authpb.User)
		a.Users = append(a.Users, u)
		return unmarshal(value, u)
	})
	if err != nil {
		return a, err
	}
	return a, f.each(bucketRoles, func(_, value []byte) error {
		r := new(authpb.Role)
		a.Roles = append(a.Roles, r)
		return unmarshal(value, r)
	})
}

func unmarshal(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// Member is a member of the database's cluster, in etcd's JSON.
type Member struct {
	ID         uint64   `json:"id"`
	PeerURLs   []string `json:"peerURLs"`
	IsLearner  bool     `json:"isLearner,omitempty"`
	Name       string   `json:"name,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
}

// Members reads the members.
func (f *File) Members() (members []Member, err error) {
	err = f.each(bucketMembers, func(_, value []byte) error {
		var m Member
		if err := json.Unmarshal(value, &m); err != nil {
			return fmt.Errorf("%w: member: %w", ErrCorrupt, err)
		}
		members = append(members, m)
		return nil
	})
	return members, err
}

// Alarms reads the raised alarms.
func (f *File) Alarms() (alarms []*etcdserverpb.AlarmMember, err error) {
	err = f.each(bucketAlarm, func(key, _ []byte) error {
		a := new(etcdserverpb.AlarmMember)
		alarms = append(alarms, a)
		return unmarshal(key, a)
	})
	return alarms, err
}

// Status is the output of etcd's `snapshot status`.
type Status struct {
	Hash      uint32 // CRC-32C of all buckets, as etcd computes it
	Revision  int64
	TotalKeys int64 // pairs in all buckets, as etcd counts them
	Version   string
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Status reads the whole database.
func (f *File) Status() (s Status, err error) {
	meta, err := f.Meta()
	if err != nil {
		return s, err
	}
	s.Version = meta.StorageVersion
	names, err := f.buckets()
	if err != nil {
		return s, err
	}
	for _, name := range names {
		s.Hash = crc32.Update(s.Hash, castagnoli, name)
		isKey := bytes.Equal(name, bucketKey)
		err := f.each(name, func(key, value []byte) error {
			s.Hash = crc32.Update(crc32.Update(s.Hash, castagnoli, key), castagnoli, value)
			s.TotalKeys++
			if !isKey {
				return nil
			}
			rev, err := parseRevision(key)
			s.Revision = rev.Main
			return err
		})
		if err != nil {
			return s, err
		}
	}
	return s, nil
}
