package backup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"cairn/internal/auth"
	"cairn/internal/datadir"
	"cairn/internal/etcdfile"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/storage"
)

// Imported describes the imported content of etcd's file.
type Imported struct {
	Revision, CompactRevision int64
	Changes                   int64 // of keys, tombstones included
	Leases, Users, Roles      int
	AuthEnabled               bool
	Members                   []etcdfile.Member // of the file's cluster

	// For a data directory: the number of applied requests from the log, of those refused as by
	// etcd, and of entries that were skipped because the log does not record them as committed.
	Replayed, Refused, Uncommitted int64
}

// Import makes a member's data directory from a database or a snapshot of etcd: all keys with their
// revisions and history, leases with their remaining TTLs, users and roles. The members are t's.
// Progress may be nil.
func Import(f *etcdfile.File, t Target, progress Progress) (found Imported, err error) {
	return importWith(f, t, progress, func(*machine.Importer, *Imported) error { return nil })
}

// ImportDataDir is Import for a data directory of etcd: the database, and then the committed
// entries of the log behind it.
func ImportDataDir(d *etcdfile.DataDir, t Target, progress Progress) (found Imported, err error) {
	return importWith(d.File, t, progress, func(im *machine.Importer, found *Imported) error {
		return replayLog(im, d, found)
	})
}

// EmptyV3 reports whether a data directory has nothing of v3: no keys, leases, users or roles.
func EmptyV3(d *etcdfile.DataDir) (empty bool, err error) {
	errFound := errors.New("found") // ends the search
	something := func() error { return errFound }
	auth, err := d.Auth()
	if err == nil {
		err = d.Leases(func(etcdfile.Lease) error { return something() })
	}
	if err == nil {
		err = d.Changes(func(*etcdfile.Change) error { return something() })
	}
	if err == nil {
		err = d.Requests(func(_ uint64, r *etcdserverpb.InternalRaftRequest) error {
			if kind, _, err := command(r); err != nil || kind == 0 {
				return err
			}
			return something()
		})
	}
	if errors.Is(err, errFound) {
		return false, nil
	}
	return len(auth.Users)+len(auth.Roles) == 0, err
}

// importWith makes the data directory; replay applies requests that are not in the database.
func importWith(f *etcdfile.File, t Target, progress Progress, replay func(*machine.Importer, *Imported) error) (found Imported, err error) {
	err = t.make(datadir.Import, func(scratch string) error {
		err := fillState(filepath.Join(scratch, "state"), func(state *storage.Store) error {
			return importState(state, filepath.Join(scratch, "history"), f, t, progress, replay, &found)
		})
		if err != nil {
			return err
		}
		return makeLog(filepath.Join(scratch, "log"))
	})
	return found, err
}

func importState(
	state *storage.Store, scratch string, f *etcdfile.File, t Target, progress Progress, replay func(*machine.Importer, *Imported) error, found *Imported,
) (err error) {
	meta, err := f.Meta()
	if err != nil {
		return err
	}
	im, err := machine.ImportHistory(state, machine.HistoryImport{
		From: &history{f: f, found: found, progress: progress}, CompactRevision: meta.CompactRevision,
		Index: initialIndex, Term: initialTerm, Members: t.Members, FS: storage.OSFS, Dir: scratch,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, im.Close()) }()
	found.CompactRevision = meta.CompactRevision
	if err := importLeases(im, f, found); err != nil {
		return err
	}
	if err := importAuth(im, f, found); err != nil {
		return err
	}
	if found.Members, err = f.Members(); err != nil {
		return err
	}
	if err := replay(im, found); err != nil {
		return err
	}
	found.Revision, err = im.Finish()
	return err
}

// Progress is called at intervals with the number of changes read or written so far, and the part
// of the work that is done: 0 to 1, 0 if it is not known.
type Progress func(changes int64, part float64)

// progressChanges is the number of changes between two calls of progress.
const progressChanges = 4096

// readPart is the part of an import that is done when the history has been read for the first time.
const readPart = 0.25

// history is etcd's database as a mvcc.History. It reports the progress.
type history struct {
	f        *etcdfile.File
	found    *Imported
	progress Progress
	read     bool // the changes have been read once, and are counted
}

// Changes implements mvcc.History.
func (h *history) Changes(visit func(key []byte, r *kv.Record) error) error {
	before, n := h.f.Visited(), int64(0)
	err := h.f.Changes(func(c *etcdfile.Change) error {
		if n++; h.progress != nil && n%progressChanges == 0 {
			part := float64(h.f.Visited()-before) / float64(h.f.Size())
			if h.read {
				part = readPart + (1-readPart)*part
			} else {
				part *= readPart
			}
			h.progress(n, part)
		}
		return visit(c.Key, &c.Record)
	})
	h.found.Changes, h.read = n, true
	return err
}

// Value implements mvcc.History.
func (h *history) Value(rev kv.Revision) ([]byte, error) { return h.f.Value(rev) }

func importLeases(im *machine.Importer, f *etcdfile.File, found *Imported) error {
	return f.Leases(func(l etcdfile.Lease) error {
		found.Leases++
		left := l.Remaining
		if left <= 0 {
			left = l.TTL // no checkpoint: a new leader of etcd restarts the TTL, too
		}
		return im.Lease(l.ID, l.TTL, left)
	})
}

func importAuth(im *machine.Importer, f *etcdfile.File, found *Imported) error {
	r, err := AuthOf(f)
	if err != nil {
		return err
	}
	found.AuthEnabled, found.Users, found.Roles = r.Enabled, len(r.Users), len(r.Roles)
	return im.Auth(&r)
}

// AuthOf returns the users and roles of etcd's database.
func AuthOf(f *etcdfile.File) (r auth.Restoration, err error) {
	a, err := f.Auth()
	if err != nil {
		return r, err
	}
	r = auth.Restoration{Enabled: a.Enabled, Revision: a.Revision}
	for _, u := range a.Users {
		restored := auth.User{Name: string(u.Name), Roles: u.Roles}
		// A user without a password logs in by certificate alone.
		if !u.GetOptions().GetNoPassword() {
			restored.Hash = string(u.Password)
		}
		r.Users = append(r.Users, restored)
	}
	for _, role := range a.Roles {
		restored := auth.RestoredRole{Name: string(role.Name)}
		for _, p := range role.KeyPermission {
			granted, err := permission(p)
			if err != nil {
				return r, fmt.Errorf("role %q: %w", role.Name, err)
			}
			restored.Permissions = append(restored.Permissions, granted)
		}
		r.Roles = append(r.Roles, restored)
	}
	return r, nil
}

func accessOf(t authpb.Permission_Type) (auth.Access, error) {
	switch t {
	case authpb.READ:
		return auth.Read, nil
	case authpb.WRITE:
		return auth.Write, nil
	case authpb.READWRITE:
		return auth.ReadWrite, nil
	default:
		return 0, fmt.Errorf("%w: permission type %d", etcdfile.ErrCorrupt, t)
	}
}

// String describes the import in one line.
func (i *Imported) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "revision %d", i.Revision)
	if i.CompactRevision > 0 {
		fmt.Fprintf(&b, ", compacted at %d", i.CompactRevision)
	}
	fmt.Fprintf(&b, ", %d changes, %d leases, %d users, %d roles, authentication ", i.Changes, i.Leases, i.Users, i.Roles)
	if i.AuthEnabled {
		b.WriteString("on")
	} else {
		b.WriteString("off")
	}
	if i.Replayed > 0 {
		fmt.Fprintf(&b, "; %d requests from the log", i.Replayed)
	}
	if i.Refused > 0 {
		fmt.Fprintf(&b, ", of which %d were refused", i.Refused)
	}
	if i.Uncommitted > 0 {
		fmt.Fprintf(&b, "; %d entries that are not known to be committed were skipped", i.Uncommitted)
	}
	return b.String()
}
