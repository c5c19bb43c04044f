package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cairn/internal/backup"
	"cairn/internal/etcdfile"
	"cairn/internal/kv"
	"cairn/internal/migration"
	"cairn/internal/snapshot"
)

// commandBytes is the size at which a command is sent. A command with a larger revision is larger.
const commandBytes = 1 << 20

// load sends the content of a snapshot of the source. st is the position of the target; an
// interrupted load continues if the source has not been compacted in the meantime.
func (m *Migration) load(ctx context.Context, st *migration.Status) (migration.Status, error) {
	f, err := m.snapshot(ctx)
	if err != nil {
		return *st, err
	}
	now, err := m.loadFile(ctx, f, st)
	return now, errors.Join(err, f.Close())
}

func (m *Migration) loadFile(ctx context.Context, f *etcdfile.File, st *migration.Status) (now migration.Status, err error) {
	meta, err := f.Meta()
	if err != nil {
		return now, err
	}
	base := max(meta.CompactRevision, 1)
	now = *st
	if st.Phase != migration.Loading || st.Base != base {
		m.o.Log("snapshot of %d bytes: history begins at revision %d", f.Size(), base)
		c := migration.Command{Kind: migration.KindBegin, Source: m.source, Endpoints: m.o.Endpoints, Base: base}
		if now, err = m.target.command(ctx, &c); err != nil {
			return now, err
		}
	} else {
		m.o.Log("going on behind revision %d/%d of the snapshot", st.LoadedMain, st.LoadedSub)
	}
	if err := m.loadAuth(ctx, f); err != nil {
		return now, err
	}
	l := &loader{m: m, ctx: ctx, base: base, now: now, loaded: now.Loaded()}
	if err := f.Changes(l.add); err != nil {
		if l.failed != nil {
			return l.now, l.failed
		}
		return l.now, err
	}
	if err := l.end(); err != nil {
		return l.now, err
	}
	m.o.Log("loaded %d keys, revision %d", l.now.Keys, l.now.Revision)
	return l.now, m.loadLeases(ctx, f)
}

// loadAuth replaces the target's users and roles by those of the snapshot, before any key can be
// read there.
func (m *Migration) loadAuth(ctx context.Context, f *etcdfile.File) error {
	r, err := backup.AuthOf(f)
	if err != nil {
		return err
	}
	if _, err := m.target.command(ctx, &migration.Command{Kind: migration.KindAuth, Auth: r}); err != nil {
		return err
	}
	return m.target.reopen()
}

// loadLeases creates the leases of the snapshot in the target. Finish reads them again.
func (m *Migration) loadLeases(ctx context.Context, f *etcdfile.File) error {
	c := migration.Command{Kind: migration.KindLeases}
	err := f.Leases(func(l etcdfile.Lease) error {
		c.Leases = append(c.Leases, migration.Lease{ID: l.ID, TTL: l.TTL, Left: l.TTL})
		return nil
	})
	if err != nil {
		return err
	}
	_, err = m.target.command(ctx, &c)
	return err
}

// loader sends the changes of a snapshot: those up to the base as keys, and the later ones revision
// by revision.
type loader struct {
	m       *Migration
	ctx     context.Context //nolint:containedctx // of one load
	base    int64
	loaded  kv.Revision // of the base
	now     migration.Status
	command []byte
	last    int64 // the revision of the last change in command
	failed  error // of the target
}

// begin starts a command of a kind.
func (l *loader) begin(kind migration.Kind, complete bool) {
	c := migration.Command{Kind: kind, Complete: complete}
	l.command = c.Append(l.command[:0])
}

// add takes a change.
func (l *loader) add(c *etcdfile.Change) error {
	rev := c.Record.Mod
	switch {
	case rev.Main <= l.base && !l.loaded.Less(rev), rev.Main > l.base && rev.Main <= l.now.Revision && l.now.Phase == migration.Following:
		return nil // the target has it already
	case rev.Main > l.base && l.now.Phase == migration.Loading:
		if err := l.endBase(); err != nil {
			return err
		}
	}
	if len(l.command) >= commandBytes && (rev.Main <= l.base || rev.Main != l.last) {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if len(l.command) == 0 {
		if rev.Main <= l.base {
			l.begin(migration.KindLoad, false)
		} else {
			l.begin(migration.KindReplay, false)
		}
	}
	l.command, l.last = migration.AppendChange(l.command, c.Key, &c.Record), rev.Main
	return nil
}

// endBase sends the rest of the keys as of the base.
func (l *loader) endBase() error {
	if err := l.flush(); err != nil {
		return err
	}
	l.begin(migration.KindLoad, true)
	return l.flush()
}

// end sends the remaining changes.
func (l *loader) end() error {
	if l.now.Phase == migration.Loading {
		return l.endBase()
	}
	return l.flush()
}

func (l *loader) flush() (err error) {
	if len(l.command) == 0 {
		return nil
	}
	l.now, err = l.m.target.apply(l.ctx, l.command)
	l.command = l.command[:0]
	if err != nil {
		l.failed = err // etcdfile adds the place in the file, which is not the place of this error
	}
	return err
}

// snapshot saves a snapshot of the source and opens it. The file is unlinked at once, so that no
// file remains however this program ends.
func (m *Migration) snapshot(ctx context.Context) (f *etcdfile.File, err error) {
	path := filepath.Join(m.o.Dir, "etcdctl-migrate-"+migration.SourceID(m.source)+".db")
	defer func() { err = errors.Join(err, removeFile(path)) }()
	m.o.Log("taking a snapshot of the old cluster")
	if err := m.download(ctx, path); err != nil {
		return nil, fmt.Errorf("old cluster: save snapshot: %w", err)
	}
	if f, err = etcdfile.Open(path, true); err != nil {
		return nil, fmt.Errorf("old cluster: %w", m.badSnapshot(path, err))
	}
	return f, nil
}

// badSnapshot returns the error about a snapshot that was received completely and cannot be read:
// another one would have the same fault.
func (m *Migration) badSnapshot(path string, err error) error {
	for _, kind := range []error{etcdfile.ErrCorrupt, etcdfile.ErrNoHash, etcdfile.ErrNoV3} {
		if !errors.Is(err, kind) {
			continue
		}
		f, failed := os.Open(path)
		if failed != nil {
			return errors.Join(err, failed)
		}
		ours := snapshot.HasMagic(f)
		if err = errors.Join(err, f.Close()); ours {
			err = fmt.Errorf("%s is a cairn, not an etcd: save a snapshot of it (`etcdctl snapshot save`) and restore that, or add members to it", m.o.Endpoints)
		}
		return &permanentError{err}
	}
	return err
}

func (m *Migration) download(ctx context.Context, path string) (err error) {
	if err := removeFile(path); err != nil { // of a run that was killed
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return &permanentError{err}
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	r, err := m.o.Source.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	_, err = io.Copy(out, &counted{r, m.o.Downloaded})
	return err
}

// counted reports the number of bytes read.
type counted struct {
	r      io.Reader
	report func(n int)
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.report != nil {
		c.report(n)
	}
	return n, err
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
