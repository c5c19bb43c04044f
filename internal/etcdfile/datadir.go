package etcdfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// DataDir is the data directory of a stopped member of etcd: its database and the log behind it.
type DataDir struct {
	*File
	WAL     *WAL
	members map[uint64]bool // of the cluster, as of the last entry
}

// OpenDataDir opens a data directory. walDir is the directory of the log; empty means its default.
func OpenDataDir(dir, walDir string) (d *DataDir, err error) {
	if walDir == "" {
		walDir = filepath.Join(dir, "member", "wal")
	}
	f, err := Open(filepath.Join(dir, "member", "snap", "db"), false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: want the data directory of an etcd, with the file member/snap/db: %w", dir, err)
	}
	if err != nil {
		return nil, err
	}
	d = &DataDir{File: f}
	if err := d.open(walDir); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *DataDir) open(walDir string) error {
	meta, err := d.Meta()
	if err != nil {
		return err
	}
	if d.WAL, err = OpenWAL(walDir, meta.ConsistentIndex); err != nil {
		return err
	}
	members, err := d.Members()
	if err != nil {
		return err
	}
	d.members = make(map[uint64]bool)
	for _, m := range members {
		d.members[m.ID] = true
	}
	return d.WAL.Entries(d.WAL.Last(), func(e *raftpb.Entry) error {
		if e.GetType() != raftpb.EntryConfChange {
			return nil
		}
		c, err := ParseConfChange(e.Data)
		if err != nil {
			return err
		}
		switch c.GetType() {
		case raftpb.ConfChangeAddNode, raftpb.ConfChangeAddLearnerNode:
			d.members[c.GetNodeId()] = true
		case raftpb.ConfChangeRemoveNode:
			delete(d.members, c.GetNodeId())
		}
		return nil
	})
}

// ParseConfChange returns the change of the members in an entry's data.
func ParseConfChange(data []byte) (*raftpb.ConfChange, error) {
	c := new(raftpb.ConfChange)
	return c, unmarshal(data, c)
}

// Committed returns the index of the last entry that etcd would apply at its next start. A sole
// member commits its whole log. In a larger cluster only entries that the log records as committed
// count: the other members may have replaced later ones.
func (d *DataDir) Committed() uint64 {
	if len(d.members) <= 1 {
		return d.WAL.Last()
	}
	return max(d.WAL.Commit(), d.WAL.after)
}

// Requests calls visit for each committed request behind the database, with its index, except
// requests of v2 and changes of the members.
func (d *DataDir) Requests(visit func(index uint64, r *etcdserverpb.InternalRaftRequest) error) error {
	return d.WAL.Entries(d.Committed(), func(e *raftpb.Entry) error {
		if e.GetType() != raftpb.EntryNormal || len(e.Data) == 0 || isV2Request(e.Data) {
			return nil
		}
		r := new(etcdserverpb.InternalRaftRequest)
		if err := unmarshal(e.Data, r); err != nil {
			return err
		}
		return visit(e.GetIndex(), r)
	})
}

// Close closes the files.
func (d *DataDir) Close() error {
	err := d.File.Close()
	if d.WAL != nil {
		err = errors.Join(err, d.WAL.Close())
	}
	return err
}

// v2Field is the field of an InternalRaftRequest that has a request of v2.
const v2Field = 2

// isV2Request reports whether an entry is a request of v2, which etcd also writes without the
// surrounding message: then field 2 is its method.
func isV2Request(data []byte) (v2 bool) {
	err := eachField(data, func(number protowire.Number, _ uint64, bytes []byte) {
		v2 = v2 || number == v2Field && bytes != nil
	})
	return v2 && err == nil
}
