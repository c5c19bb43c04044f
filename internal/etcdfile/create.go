package etcdfile

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"cairn/internal/kv"

	bolt "go.etcd.io/bbolt"
)

// transactionBytes is the size at which a transaction of bbolt is committed.
const transactionBytes = 16 << 20

// allocBytes is by how much the file grows at a time: what is not used at the end stays in the
// file.
const allocBytes = 1 << 20

// fillPercent is the part of a page that is filled before a new one begins: keys ascend, so no page
// is filled later.
const fillPercent = 0.9

// Writer makes a snapshot file of etcd, which etcd's `snapshot restore` accepts. The file gets its
// name when Finish has succeeded; until then it is called NAME.part.
//
// A Writer belongs to one goroutine. Close removes an unfinished file.
type Writer struct {
	path, part string
	db         *bolt.DB
	tx         *bolt.Tx
	bytes      int // of the open transaction
}

// Create begins a snapshot file. A file of that name must not exist.
func Create(path string) (w *Writer, err error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s exists: choose another name or remove it", path)
	}
	w = &Writer{path: path, part: path + ".part"}
	if err := os.Remove(w.part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// Finish syncs the file once.
	if w.db, err = bolt.Open(w.part, 0o600, &bolt.Options{NoSync: true, FreelistType: bolt.FreelistMapType}); err != nil {
		return nil, fmt.Errorf("create %s: %w", w.part, err)
	}
	w.db.AllocSize = allocBytes
	if w.tx, err = w.db.Begin(true); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	for _, bucket := range [][]byte{
		bucketKey, bucketMeta, bucketLease, bucketAuth, bucketUsers, bucketRoles, bucketMembers, bucketMembersRemoved, bucketCluster, bucketAlarm,
	} {
		if _, err := w.tx.CreateBucket(bucket); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return w, nil
}

func (w *Writer) put(bucket, key, value []byte) error {
	if w.bytes += len(key) + len(value); w.bytes > transactionBytes {
		if err := w.tx.Commit(); err != nil {
			return fmt.Errorf("write %s: %w", w.part, err)
		}
		var err error
		if w.tx, err = w.db.Begin(true); err != nil {
			return fmt.Errorf("write %s: %w", w.part, err)
		}
		w.bytes = len(key) + len(value)
	}
	b := w.tx.Bucket(bucket)
	b.FillPercent = fillPercent // a transaction has buckets of its own
	if err := b.Put(key, value); err != nil {
		return fmt.Errorf("write %s: %w", w.part, err)
	}
	return nil
}

func (w *Writer) putMessage(bucket, key []byte, m proto.Message) error {
	value, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("write %s: %w", w.part, err)
	}
	return w.put(bucket, key, value)
}

// Change writes a change of a key: a live record, or a tombstone.
func (w *Writer) Change(key []byte, r *kv.Record) error {
	rev := appendRevision(make([]byte, 0, tombstoneBytes), r.Mod)
	if r.Deleted {
		return w.putMessage(bucketKey, append(rev, tombstoneMark), &mvccpb.KeyValue{Key: key})
	}
	return w.putMessage(bucketKey, rev, &mvccpb.KeyValue{
		Key: key, CreateRevision: r.CreateRevision, ModRevision: r.Mod.Main, Version: r.Version, Value: r.Value, Lease: int64(r.Lease),
	})
}

// Compacted writes the revision below which there is no history.
func (w *Writer) Compacted(revision int64) error {
	rev := appendRevision(nil, kv.Revision{Main: revision})
	return errors.Join(w.put(bucketMeta, []byte("scheduledCompactRev"), rev), w.put(bucketMeta, []byte("finishedCompactRev"), rev))
}

// Lease writes a lease.
func (w *Writer) Lease(l Lease) error {
	return w.put(bucketLease, binary.BigEndian.AppendUint64(nil, uint64(l.ID)), appendLease(nil, l))
}

// Auth writes users and roles.
func (w *Writer) Auth(a *Auth) error {
	enabled := []byte{0}
	if a.Enabled {
		enabled[0] = 1
	}
	err := errors.Join(w.put(bucketAuth, []byte("authEnabled"), enabled),
		w.put(bucketAuth, []byte("authRevision"), binary.BigEndian.AppendUint64(nil, a.Revision)))
	for _, u := range a.Users {
		err = errors.Join(err, w.putMessage(bucketUsers, u.Name, &authpb.User{Name: u.Name, Password: u.Password, Roles: u.Roles, Options: u.Options}))
	}
	for _, r := range a.Roles {
		err = errors.Join(err, w.putMessage(bucketRoles, r.Name, r))
	}
	return err
}

// Finish completes the file with its SHA-256 and renames it to its final name. The file is durable
// on return.
func (w *Writer) Finish() (size int64, err error) {
	tx, db := w.tx, w.db
	w.tx, w.db = nil, nil
	err = tx.Commit()
	if err = errors.Join(err, db.Close()); err == nil {
		size, err = seal(w.part)
	}
	if err == nil {
		err = os.Rename(w.part, w.path)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("write %s: %w", w.part, err), w.Close())
	}
	return size, nil
}

// seal appends the SHA-256 of a file to it and syncs it.
func seal(path string) (size int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	if size, err = io.Copy(sum, f); err != nil {
		return 0, err
	}
	n, err := f.Write(sum.Sum(nil))
	if err != nil {
		return 0, err
	}
	return size + int64(n), f.Sync()
}

// Close removes the file unless it is finished.
func (w *Writer) Close() (err error) {
	if w.tx != nil {
		err = w.tx.Rollback()
	}
	if w.db != nil {
		err = errors.Join(err, w.db.Close())
	}
	w.tx, w.db = nil, nil
	if removed := os.Remove(w.part); removed != nil && !errors.Is(removed, os.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}
