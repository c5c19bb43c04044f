// Package storage stores bytes: it is the only package that imports pebble.
//
// A member has two stores. The log store has the raft log and syncs its journal on every append.
// The state store has everything that clients wrote and has no WAL: the raft log is its WAL, and
// every apply is one batch that includes the applied index (docs/formats/state-store.md). The
// package owns the options of both, the one-byte table prefixes, batches, iterators and views; the
// packages above define the meaning of the values.
//
// Invariant: a batch becomes visible, and durable, as a whole or not at all
// (TestJournalPowerCutAnywhere, and package replica's test of crashes).
//
// A Store is safe for concurrent use, and its reads may overlap with Close. Batches and iterators
// belong to one goroutine at a time.
package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is the file system of stores. It is pebble's, named here so that no other package needs to
// import it.
type FS = vfs.FS

// OSFS is the operating system's file system.
var OSFS = vfs.Default

// OnOS reports whether the files of fs, nil or whatever wraps it, are the operating system's.
func OnOS(fs FS) bool { return fs == nil || vfs.Root(fs) == OSFS }

// ErrClosed is returned by reads of a store that was closed.
var ErrClosed = errors.New("the store is closed")

// ErrDamagedLog reports that a file of the log store's journal has changed since it was synced:
// other members rely on the lost entries.
var ErrDamagedLog = errors.New("damaged after it was synced, so this member must not go on; replace it (etcdctl member replace), or restore a backup")

// ErrNotFound is returned by Get for a key that is not in the store.
var ErrNotFound = pebble.ErrNotFound

// Table is the first byte of every key of the state store. The values are
// stored; never renumber them. Each table is drawn in docs/formats/.
type Table byte

// The tables of the state store.
const (
	TableAuth        Table = 'a' // users, roles
	TableCurrent     Table = 'c' // user key → newest record
	TableDirectories Table = 'd' // v2 path → directory
	TableLeaseKeys   Table = 'k' // lease, user key → –
	TableLeases      Table = 'l' // lease → TTL, deadline
	TableMembers     Table = 'm' // members
	TableCounts      Table = 'n' // first key of a block → live keys in it
	TableRevisions   Table = 'r' // revision → event
	TableSystem      Table = 's' // applied index, revision, compact revision, cluster time
	TableDeadlines   Table = 't' // cluster time, kind, id → –
	TableTombstones  Table = 'x' // revision of a delete → user key
)

// Options are the options of a store.
type Options struct {
	FS     FS           // the file system; OSFS when nil
	Logger *slog.Logger // pebble's own events; discarded when nil
	// CacheBytes limits the block cache. See docs/architecture.md, "Memory".
	CacheBytes int64
	// MemTableBytes is the size of one memtable.
	MemTableBytes uint64
	// Still keeps the store from compacting automatically: a simulation must do the same writes
	// every time. Such a store supports some dozens of flushes.
	Still bool
	// Bulk is for a store that is filled at one time: compactions wait until much has been written,
	// since each one would write most of the keys again. Reads of such a store cost more.
	Bulk bool
	// OnFlush is called after a memtable has reached the disk, from a
	// goroutine of pebble's; it must not block.
	OnFlush func()
	// OnJournalWrite is called with the duration of each write to a log store's journal, without
	// the fsync that may follow. It must not block.
	OnJournalWrite func(time.Duration)
	// OnFatal is called when the disk has failed in the background (a failed
	// fsync, a corrupt table); the store can no longer be used. It must not block.
	OnFatal func(error)
	// MustExist refuses to create the store: a member that has run must not continue with an empty
	// one. Opening a missing store returns ErrMissing.
	MustExist bool
}

// Store is an ordered map of byte strings on disk.
type Store struct {
	db   *pebble.DB
	disk *disk
	size *size
	// journal is the log store's, which makes synced commits durable; nil for a state store.
	journal *journal
	log     *slog.Logger
	options *pebble.Options
	readers readers

	viewsMu sync.Mutex // guards views, and keeps views from being read while they are closed
	views   map[*View]struct{}
}

// Default sizes: together they are the documented memory budget of a member
// (docs/architecture.md, "Memory").
const (
	DefaultStateCacheBytes    = 128 << 20
	DefaultStateMemTableBytes = 16 << 20
	DefaultLogCacheBytes      = 8 << 20
	DefaultLogMemTableBytes   = 16 << 20
)

// OpenState opens or creates the state store in dir.
func OpenState(dir string, o Options) (*Store, error) {
	po := baseOptions(o, DefaultStateCacheBytes, DefaultStateMemTableBytes)
	po.DisableWAL = true
	po.MemTableStopWritesThreshold = 4
	po.LBaseMaxBytes = 256 << 20
	po.L0CompactionThreshold = 8
	po.L0StopWritesThreshold = 24
	if o.Still {
		po.L0StopWritesThreshold = 1 << 20
	}
	if o.Bulk {
		po.MemTableStopWritesThreshold = 2
		po.L0CompactionThreshold, po.L0StopWritesThreshold = 64, 1<<20
	}
	// Otherwise ingested tables would wait behind the memtables in memory, and without a WAL they
	// would be lost in a crash.
	po.Experimental.DisableIngestAsFlushable = func() bool { return true }
	po.Experimental.SpanPolicyFunc = tableSpans
	po.Experimental.ValueSeparationPolicy = separateHistory
	po.TargetFileSizes[0] = 8 << 20 // with its blob file; a flush makes few files
	for i := range po.Levels {
		// Filters serve point reads of absent keys (every create), also in the last level.
		po.Levels[i].FilterPolicy = yieldingFilter{bloom.FilterPolicy(10)}
		po.Levels[i].BlockSize = 16 << 10
	}
	return open(dir, po, o.MustExist)
}

// OpenLog opens or creates the log store in dir. Commits with sync are durable when they return.
func OpenLog(dir string, o Options) (*Store, error) {
	po := baseOptions(o, DefaultLogCacheBytes, DefaultLogMemTableBytes)
	po.DisableWAL = true
	for i := range po.Levels {
		po.Levels[i].BlockSize = 32 << 10
	}
	s, err := open(dir, po, o.MustExist)
	if err != nil {
		return nil, err
	}
	if s.journal, err = openJournal(s, dir, int64(po.MemTableSize)); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", dir, err), s.closeDB())
	}
	s.journal.onWrite = o.OnJournalWrite
	return s, nil
}

func baseOptions(o Options, cacheBytes int64, memTableBytes uint64) *pebble.Options {
	if o.FS == nil {
		o.FS = OSFS
	}
	if o.CacheBytes > 0 {
		cacheBytes = o.CacheBytes
	}
	if o.MemTableBytes > 0 {
		memTableBytes = o.MemTableBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	disk := newDisk(o.FS)
	fail := func(err error) {
		if !disk.fail(err) {
			return
		}
		o.Logger.Error("storage failed", "error", err)
		if o.OnFatal != nil {
			o.OnFatal(err)
		}
	}
	disk.report = fail
	listener := pebble.EventListener{
		BackgroundError: func(err error) {
			if checked := disk.checkRead(err); checked == err { //nolint:errorlint // the same one
				fail(err)
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) { _ = disk.damaged(info.Path, info.Details) },
		DiskSlow: func(info pebble.DiskSlowInfo) {
			o.Logger.Warn("slow disk", "path", info.Path, "operation", info.OpType.String(), "took", info.Duration)
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			o.Logger.Warn("storage stalls writes", "reason", info.Reason)
		},
	}
	listener.FlushEnd = func(info pebble.FlushInfo) {
		if info.Err != nil {
			return
		}
		disk.size.flushed(info)
		if o.OnFlush != nil {
			o.OnFlush()
		}
	}
	changed := &disk.size.changed
	listener.CompactionEnd = func(pebble.CompactionInfo) { changed.Store(true) }
	listener.TableDeleted = func(pebble.TableDeleteInfo) { changed.Store(true) }
	listener.TableIngested = func(pebble.TableIngestInfo) { changed.Store(true) }
	listener.ManifestCreated = func(pebble.ManifestCreateInfo) { changed.Store(true) }
	listener.ManifestDeleted = func(pebble.ManifestDeleteInfo) { changed.Store(true) }
	return &pebble.Options{
		FS:                          disk,
		FormatMajorVersion:          pebble.FormatNewest,
		CacheSize:                   cacheBytes,
		MemTableSize:                memTableBytes,
		EventListener:               &listener,
		Logger:                      quiet{o.Logger, fail},
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		DisableAutomaticCompactions: o.Still,
		MaxOpenFiles:                4096,
	}
}

// Close closes the store: new reads get ErrClosed, and it waits for those in progress. So the
// caller must have closed its own iterators, and writers must have ended. A store without a WAL
// loses unflushed data, by design: the raft log replays it.
func (s *Store) Close() error {
	if !s.readers.close(s.log) {
		return fmt.Errorf("close store: %w", ErrClosed)
	}
	err := s.closeViews()
	if s.journal != nil {
		err = errors.Join(err, s.journal.close())
	}
	if err := errors.Join(err, s.closeDB()); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// failedCloseMax is how long Close waits for a store whose disk has failed.
const failedCloseMax = 5 * time.Second

// closeDB closes pebble. When the disk has failed, pebble may wait forever for a flush: its data is
// lost anyway, so the wait is limited.
func (s *Store) closeDB() error {
	closed := make(chan error, 1)
	go func() {
		var err error
		defer func() { closed <- err }()
		defer pebblePanic(&err)
		err = s.db.Close()
	}()
	select {
	case err := <-closed:
		return err
	case <-s.disk.failed:
	}
	select {
	case err := <-closed:
		return err
	case <-time.After(failedCloseMax):
		return fmt.Errorf("not closed within %v, since the disk has failed", failedCloseMax)
	}
}

// Flush writes the memtable to the disk and waits for it. It returns the disk's failure if there is
// one before the memtable has been written.
func (s *Store) Flush() error {
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return nil
	case <-s.disk.failed:
		return s.disk.err
	}
}

// StartFlush starts a flush of the memtable, without waiting.
func (s *Store) StartFlush() error {
	_, err := s.db.AsyncFlush()
	return err
}

// JournalBytes returns how many bytes a log store has written to its journal since it was opened.
func (s *Store) JournalBytes() uint64 {
	if s.journal == nil {
		return 0
	}
	return s.journal.written.Load()
}

// Reclaim frees the space of deleted data at once, where the store would otherwise do it later: it
// rewrites the files with deleted data. That takes as long as reading and writing the whole store,
// and blocks neither readers nor writers.
func (s *Store) Reclaim(ctx context.Context) error {
	if !s.readers.enter() {
		return ErrClosed
	}
	defer s.readers.leave()
	if err := s.Flush(); err != nil {
		return fmt.Errorf("reclaim space: flush: %w", err)
	}
	if err := s.db.Compact(ctx, []byte{0}, []byte{0xff}, false); err != nil {
		return fmt.Errorf("reclaim space: %w", err)
	}
	return nil
}

// quiet passes pebble's messages on at debug level: important ones come through the event listener.
type quiet struct {
	log  *slog.Logger
	fail func(error)
}

func (q quiet) Infof(format string, args ...any) {
	if q.log.Enabled(nil, slog.LevelDebug) { //nolint:staticcheck // no context here
		q.log.Debug("storage", "message", fmt.Sprintf(format, args...))
	}
}

func (q quiet) Errorf(format string, args ...any) {
	q.log.Error("storage", "message", fmt.Sprintf(format, args...))
}

// Fatalf is called for a broken manifest; pebble expects it not to return. A caller of this package
// gets an error; a goroutine of pebble's ends, after the store has reported its failure.
func (q quiet) Fatalf(format string, args ...any) {
	err := fatal(fmt.Sprintf(format, args...))
	q.fail(err)
	if recovering() {
		panic(err)
	}
	runtime.Goexit()
}
