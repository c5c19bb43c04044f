package storage

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// creatingName is a file that exists in a store's directory while the store is being created. It is
// durable before pebble writes anything and is removed after pebble has synced everything. So a
// directory with this file has no data that any caller relies on, whatever other files it has.
const creatingName = "CREATING"

// Advice is the way out when files of a member are damaged or missing.
const Advice = "restore a backup, or replace the member (etcdctl member replace)"

// ErrMissing is wrapped by the error about a store that should exist and does not: its directory is
// missing, or it has files but no manifest.
var ErrMissing = errors.New("store is missing")

// open opens the store in dir. A missing store is created, unless mustExist is set. Creation is
// atomic: after a crash at any point the next open finds either a complete store or none.
func open(dir string, po *pebble.Options, mustExist bool) (s *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open store %s: %w", dir, err)
		}
	}()
	creating, err := startCreation(po.FS, dir, mustExist)
	if err != nil {
		return nil, err
	}
	if !creating {
		if err := verifyManifest(po.FS, dir); err != nil {
			return nil, err
		}
	}
	options := completed(po)
	po.FS.(*disk).dir = dir
	po.ErrorIfNotExists = !creating
	db, err := openDB(dir, po)
	if err != nil {
		return nil, cmp.Or(optionsError(po.FS, dir), withAdvice(err))
	}
	if creating {
		if err := finishCreation(po.FS, dir); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	disk := po.FS.(*disk)
	disk.size.changed.Store(true)
	return &Store{
		db: db, log: po.Logger.(quiet).log, options: options, disk: disk, size: &disk.size,
		readers: readers{drained: make(chan struct{}, 1)}, views: make(map[*View]struct{}),
	}, nil
}

// withAdvice adds the way out to an error of pebble about damaged or missing files.
func withAdvice(err error) error {
	if pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", err, Advice)
	}
	return err
}

// optionsError returns an error if pebble's file of options in a store's directory, which pebble
// writes and reads but this package does not need, cannot be read.
func optionsError(on FS, dir string) error {
	found, err := pebble.Peek(dir, on)
	if err != nil || found.OptionsFilename == "" {
		return nil //nolint:nilerr // the error of the open counts
	}
	f, err := on.Open(found.OptionsFilename)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(f)
	err = errors.Join(err, f.Close())
	if err == nil {
		o := &pebble.Options{FS: on}
		o.EnsureDefaults()
		err = o.CheckCompatibility(dir, string(text))
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s is damaged, and is not needed: remove it: %w", found.OptionsFilename, err)
}

// failedOpenMax is the maximum time that an open may take to return an error after the disk has
// failed.
const failedOpenMax = time.Second

// openDB opens pebble. When the disk fails meanwhile, pebble may wait forever for its background
// work, so the wait is limited.
func openDB(dir string, po *pebble.Options) (*pebble.DB, error) {
	type result struct {
		db  *pebble.DB
		err error
	}
	opened := make(chan result, 1)
	go func() {
		var r result
		defer func() { opened <- r }()
		r.db, r.err = recoveringOpen(dir, po)
	}()
	failed := po.FS.(*disk).failed
	select {
	case r := <-opened:
		return r.db, r.err
	case <-failed:
	}
	select {
	case r := <-opened:
		if r.err == nil {
			go r.db.Close() //nolint:errcheck // the disk has failed already
		} else {
			return nil, r.err
		}
	case <-time.After(failedOpenMax):
	}
	return nil, po.FS.(*disk).err
}

func recoveringOpen(dir string, po *pebble.Options) (db *pebble.DB, err error) {
	defer pebblePanic(&err)
	return pebble.Open(dir, po)
}

// startCreation reports whether the store in dir must be created, and prepares dir: it removes the
// rest of an interrupted creation.
func startCreation(on FS, dir string, mustExist bool) (creating bool, err error) {
	names, err := on.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	marked, manifest := false, false
	var left []string
	for _, name := range names {
		marked = marked || name == creatingName
		manifest = manifest || strings.HasPrefix(name, "marker.manifest.")
		if name != creatingName {
			left = append(left, name)
		}
	}
	switch {
	case marked && mustExist, len(left) == 0 && mustExist:
		return false, fmt.Errorf("%w: %s", ErrMissing, Advice)
	case marked:
	case manifest:
		return false, nil
	case len(left) > 0:
		return false, fmt.Errorf("%w: the directory has %s but no manifest: %s", ErrMissing, left[0], Advice)
	}
	if err := makeDurableDir(on, dir); err != nil {
		return false, err
	}
	if !marked {
		f, err := on.Create(on.PathJoin(dir, creatingName), vfs.WriteCategoryUnspecified)
		if err != nil {
			return false, err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return false, err
		}
	}
	if err := syncDir(on, dir); err != nil {
		return false, err
	}
	for _, name := range left {
		if err := on.RemoveAll(on.PathJoin(dir, name)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// finishCreation marks the store in dir as complete.
func finishCreation(on FS, dir string) error {
	if err := syncDir(on, dir); err != nil {
		return err
	}
	if err := on.Remove(on.PathJoin(dir, creatingName)); err != nil {
		return err
	}
	return syncDir(on, dir)
}

// makeDurableDir creates dir and its missing parents, and syncs the directories above them.
func makeDurableDir(on FS, dir string) error {
	var parents []string
	for at := dir; ; at = on.PathDir(at) {
		if _, err := on.Stat(at); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		parent := on.PathDir(at)
		parents = append(parents, parent)
		if parent == at {
			break
		}
	}
	if len(parents) == 0 {
		// An earlier attempt may have created dir without syncing its parent.
		parents = append(parents, on.PathDir(dir))
	}
	if err := on.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := syncDir(on, parent); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(on FS, dir string) error {
	d, err := on.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
