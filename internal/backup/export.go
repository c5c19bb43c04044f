package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"

	"cairn/internal/auth"
	"cairn/internal/datadir"
	"cairn/internal/etcdfile"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/v3op"
)

// Content is the state in a snapshot file, or in the data directory of a stopped member, opened for
// reading.
type Content struct {
	s *stopped
}

// OpenContent opens a snapshot file or a data directory. It works on a copy, which takes the space
// of the state in the directory for temporary files until Close.
func OpenContent(path string) (*Content, error) { return openContent(path, nil) }

// openContent is OpenContent, which calls verify for the stores of a data directory (openCopy).
func openContent(path string, verify func(dir, linked string) error) (*Content, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		id, err := datadir.Inspect(path)
		if err != nil {
			return nil, err
		}
		if id == nil {
			return nil, fmt.Errorf("data directory %s: it was never used by a member: name a data directory or a snapshot file", path)
		}
		s, err := openCopy(path, os.TempDir(), verify)
		if err != nil {
			return nil, err
		}
		return &Content{s: s}, nil
	}
	scratch, err := os.MkdirTemp("", ".etcdutl-")
	if err != nil {
		return nil, err
	}
	release := func() error { return os.RemoveAll(scratch) }
	dir := filepath.Join(scratch, "restored")
	err = Restore(path, true, Target{
		Dir: dir, Identity: datadir.Identity{MemberID: 1, ClusterID: 1, Name: "restored", Created: time.Now()}, Members: []membership.Member{{ID: 1}},
	})
	if err != nil {
		return nil, errors.Join(err, release())
	}
	s, err := openStopped(filepath.Join(dir, "member", "log"), filepath.Join(dir, "member", "state"))
	if err != nil {
		return nil, errors.Join(err, release())
	}
	s.release = release
	return &Content{s: s}, nil
}

// Machine returns the state. It is valid until Close.
func (c *Content) Machine() *machine.Machine { return c.s.machine }

// Close removes the copy.
func (c *Content) Close() error { return c.s.close() }

// Exported is the result of an export.
type Exported struct {
	Revision, CompactRevision int64
	Changes                   int64
	Leases, Users, Roles      int
	// Lost counts what etcd's v3 store cannot hold: directories of v2, and TTLs of v2 keys.
	Lost int64
	Size int64 // of the file, in bytes
}

// Export writes a state as a snapshot file of etcd: the keys as of the compaction, each change
// since, leases, users and roles. Progress may be nil.
func Export(m *machine.Machine, path string, progress Progress) (done Exported, err error) {
	w, err := etcdfile.Create(path)
	if err != nil {
		return done, err
	}
	return export(m, w, progress)
}

// export writes a state to a sink, and closes the sink.
func export(m *machine.Machine, w sink, progress Progress) (done Exported, err error) {
	defer func() { err = errors.Join(err, w.Close()) }()
	e := exporter{w: w, keys: m.Keys(), progress: progress, done: &done}
	head := m.Keys().Head()
	done.Revision, done.CompactRevision = head.Revision, head.CompactRevision
	if err := e.base(head.CompactRevision); err != nil {
		return done, err
	}
	if err := e.history(head.CompactRevision+1, head.Revision); err != nil {
		return done, err
	}
	if err := e.leases(m.ClusterTime()); err != nil {
		return done, err
	}
	if err := e.auth(m.Auth().State()); err != nil {
		return done, err
	}
	done.Size, err = w.Finish()
	return done, err
}

type exporter struct {
	w        sink
	keys     *mvcc.Store
	progress Progress
	part     float64 // of the history that is written
	done     *Exported
	err      error // of the writer, set by callbacks that return no error
}

func (e *exporter) change(key []byte, r *kv.Record) bool {
	e.done.Changes++
	if r.Deadline != 0 {
		e.done.Lost++
	}
	if e.progress != nil && e.done.Changes%progressChanges == 0 {
		e.progress(e.done.Changes, e.part)
	}
	e.err = e.w.Change(key, r)
	return e.err == nil
}

// Add implements mvcc.Sink.
func (e *exporter) Add(key []byte, r *kv.Record) bool { return e.change(key, r) }

// Reset implements mvcc.Sink. Nothing compacts a state that is being exported.
func (e *exporter) Reset() { e.err = errors.New("the state changes while it is exported") }

// base writes the keys as of the compaction.
func (e *exporter) base(compact int64) error {
	if compact == 0 {
		return nil
	}
	all := kv.KeyRange{Key: []byte{0}, End: []byte{0}}
	if _, err := e.keys.Range(&mvcc.RangeOp{KeyRange: all, Revision: compact}, e); err != nil || e.err != nil {
		return errors.Join(err, e.err)
	}
	return e.w.Compacted(compact)
}

// history writes the changes of [from, to].
func (e *exporter) history(from, to int64) error {
	_, err := e.keys.History(from, to, func(ev *kv.Event) bool {
		if ev.Dir {
			e.done.Lost++
			return true
		}
		e.part = float64(ev.Record.Mod.Main-from) / float64(to-from+1)
		return e.change(ev.Key, &ev.Record)
	})
	return errors.Join(err, e.err)
}

func (e *exporter) leases(now kv.ClusterTime) error {
	all, err := lease.List(e.keys.Reading())
	if err != nil {
		return err
	}
	for i := range all {
		e.done.Leases++
		left := max(all[i].Left(now), 1)
		if err := e.w.Lease(etcdfile.Lease{ID: all[i].ID, TTL: all[i].TTL, Remaining: min(left, all[i].TTL)}); err != nil {
			return err
		}
	}
	return nil
}

func (e *exporter) auth(s *auth.State) error {
	a := &etcdfile.Auth{Enabled: s.Enabled, Revision: s.Revision}
	for _, name := range s.UserNames() {
		u := s.User(name)
		a.Users = append(a.Users, &authpb.User{
			Name: []byte(name), Password: []byte(u.Hash), Roles: u.Roles, Options: &authpb.UserAddOptions{NoPassword: u.Hash == ""},
		})
	}
	for _, name := range s.RoleNames() {
		r := &authpb.Role{Name: []byte(name)}
		for _, p := range s.Role(name).Permissions() {
			r.KeyPermission = append(r.KeyPermission, &authpb.Permission{PermType: v3op.PermissionType(p.Access), Key: p.Key, RangeEnd: p.End})
		}
		a.Roles = append(a.Roles, r)
	}
	e.done.Users, e.done.Roles = len(a.Users), len(a.Roles)
	return e.w.Auth(a)
}
