package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/datadir"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/raftlog"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
)

// stopped is a stopped member with its stores open.
type stopped struct {
	state, logStore *storage.Store
	log             *raftlog.Log
	machine         *machine.Machine
	release         func() error // additional cleanup in close; nil for none
}

// openStopped opens the stores of a stopped member, and applies its log to the end.
//
// It applies uncommitted entries, too: the recorded commit index is not synced, so that
// acknowledged entries may lie behind it. Entries that were never committed may be among them;
// their clients do not know the outcome, so either is correct. But the result may differ from the
// cluster's state: it must not be stored where the member could rejoin the cluster.
func openStopped(logDir, stateDir string) (s *stopped, err error) {
	s = &stopped{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.logStore, err = storage.OpenLog(logDir, offline); err != nil {
		return s, err
	}
	if s.state, err = storage.OpenState(stateDir, offline); err != nil {
		return s, err
	}
	if s.machine, err = machine.Open(s.state); err != nil {
		return s, fmt.Errorf("state store %s: %w", stateDir, err)
	}
	if s.log, err = raftlog.Open(s.logStore, s.machine.AppliedIndex(), s.machine.ConfState()); err != nil {
		if end := s.logStore.JournalEnd(); end != "" {
			err = fmt.Errorf("%w: the journal %s", err, end)
		}
		return s, fmt.Errorf("log store %s: %w", logDir, err)
	}
	return s, s.applyLog()
}

// applyBytes is the size of the log entries that are applied at a time.
const applyBytes = 4 << 20

func (s *stopped) applyLog() error {
	last, err := s.log.LastIndex()
	if err != nil {
		return err
	}
	for at := s.machine.AppliedIndex(); at < last; at = s.machine.AppliedIndex() {
		var entries []*raftpb.Entry
		if entries, err = s.log.Entries(at+1, last+1, applyBytes); err != nil {
			return err
		}
		if _, err := s.machine.Apply(entries, 0); err != nil {
			return err
		}
	}
	return nil
}

func (s *stopped) close() (err error) {
	if s.machine != nil {
		err = s.machine.Close()
	}
	for _, db := range []*storage.Store{s.state, s.logStore} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if s.release != nil {
		err = errors.Join(err, s.release())
	}
	return err
}

// ForceNewCluster makes the member of an open data directory the only one of its cluster. It keeps
// its ID, its data and the cluster ID. peerURLs are for a member whose own state has no record of
// it.
func ForceNewCluster(dir *datadir.Dir, peerURLs []string) (err error) {
	s, err := openStopped(dir.LogDir(), dir.StateDir())
	if err != nil {
		return fmt.Errorf("force new cluster: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.machine.BeginAlone(dir.Identity().MemberID, peerURLs); err != nil {
		return fmt.Errorf("force new cluster: %w", err)
	}
	return nil
}

// FromDir makes a data directory from that of a member. If the member runs, it reads the state from
// the member's socket (Serve).
func FromDir(ctx context.Context, source string, t Target) (err error) {
	id, err := datadir.Inspect(source)
	if err != nil {
		return err
	}
	if id == nil {
		return fmt.Errorf("data directory %s: it was never used by a member: give the --data-dir of one", source)
	}
	release, err := t.Reserve(datadir.Backup)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	t.Identity.Name = id.Name
	s, err := openCopy(source, filepath.Dir(filepath.Clean(t.Dir)), nil)
	if inUse := new(datadir.InUseError); errors.As(err, &inUse) {
		return t.fromRunning(ctx, source)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	stream, err := s.machine.Snapshot(id.ClusterID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	return t.createFrom(stream)
}

// openCopy opens a copy of the stores of a stopped member, with its log applied. The copy is made
// in a directory below beside; close removes it. The member's directory is not changed, and is
// locked meanwhile. verify, unless it is nil, gets the directories of the stores and of their
// copies first.
func openCopy(source, beside string, verify func(dir, linked string) error) (s *stopped, err error) {
	dir, err := datadir.Open(source)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp(beside, ".etcdctl-backup-")
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	release := func() error { return errors.Join(os.RemoveAll(scratch), dir.Close()) }
	fail := func(err error) (*stopped, error) {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", source, &copyError{err, scratch, dir.MemberDir()}), release())
	}
	logDir, stateDir := filepath.Join(scratch, "log"), filepath.Join(scratch, "state")
	for _, c := range [][2]string{{dir.LogDir(), logDir}, {dir.StateDir(), stateDir}} {
		if err := copyStore(c[0], c[1]); err != nil {
			return fail(fmt.Errorf("copy its stores: %w", err))
		}
		if verify == nil {
			continue
		}
		if err := verify(c[0], c[1]); err != nil {
			return fail(err)
		}
	}
	if s, err = openStopped(logDir, stateDir); err != nil {
		return fail(err)
	}
	s.release = release
	if verify != nil {
		if err := s.verifyID(dir.Identity().MemberID); err != nil {
			return nil, errors.Join(fmt.Errorf("data directory %s: %w", source, err), s.close())
		}
	}
	return s, nil
}

// verifyID reports a member ID in the file FORMAT, which has no checksum, that the state lacks.
func (s *stopped) verifyID(id uint64) error {
	members := s.machine.Members()
	if _, known := membership.Find(members, id); known || len(members) == 0 || s.machine.Removed(id) {
		return nil
	}
	return fmt.Errorf("member/FORMAT: line 3: member-id %016x is not a member of the cluster: the line is damaged, "+
		"or the member was stopped before it received its addition: %s", id, storage.Advice)
}

// copyError is an error about a copy of a file, whose text has the path of the file itself.
type copyError struct {
	err        error
	copy, file string // the directories
}

func (e *copyError) Error() string { return strings.ReplaceAll(e.err.Error(), e.copy, e.file) }
func (e *copyError) Unwrap() error { return e.err }

// copyStore copies a store that no process has open. Its sstables and blob files never change, and
// the files of a journal only while the process runs that made them, so they are hard-linked where
// possible.
func copyStore(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s does not exist: %s", storage.ErrMissing, from, storage.Advice)
	}
	if err == nil {
		err = os.Mkdir(to, 0o700)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if !e.Type().IsRegular() || e.Name() == "LOCK" {
			continue
		}
		switch filepath.Ext(e.Name()) {
		case ".sst", ".blob", ".journal":
			if os.Link(source, target) == nil {
				continue
			}
		}
		if err := copyFile(source, target); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

func (t *Target) createFrom(r io.Reader) error {
	in, err := snapshot.NewStream(r)
	if err != nil {
		return err
	}
	defer in.Close()
	return t.make(datadir.Backup, func(scratch string) error {
		return t.fill(scratch, in, func(err error) error { return err })
	})
}
