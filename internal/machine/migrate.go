package machine

import (
	"fmt"

	"cairn/internal/auth"
	"cairn/internal/codec"
	"cairn/internal/lease"
	"cairn/internal/migration"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// Migration returns how far a migration from another cluster has come, as of the last applied
// entry. The caller must not change it.
func (m *Machine) Migration() *migration.State { return m.migration.Present() }

// mayChange returns why no change of a client is taken, not even one that makes room, or nil.
func (m *Machine) mayChange() error {
	if err := m.migration.Next().MayChange(); err != nil {
		return err
	}
	return m.alarms.Next().MayChange()
}

// mayAdd returns why nothing of a client that adds data is taken, or nil.
func (m *Machine) mayAdd() error {
	if err := m.migration.Next().MayChange(); err != nil {
		return err
	}
	return m.alarms.Next().MayAdd()
}

// startsAlone reports whether a command needs a batch for itself: one that removes all keys, which
// the rest of the batch would not see.
func startsAlone(kind Kind, payload []byte) bool {
	if _, err := unwrapActor(&kind, &payload); err != nil {
		return false
	}
	return kind == KindMigrate && len(payload) > 0 && migration.Kind(payload[0]) == migration.KindBegin
}

// migrate runs a command of a migration, which is outside the writer's Start and End.
func (m *Machine) migrate(d *codec.Reader, subject *auth.Subject) error {
	c, err := migration.Decode(d.Rest())
	if err != nil {
		return malformed("migration", err)
	}
	if err := needRoot(subject); err != nil {
		return err
	}
	state := *m.migration.Next()
	if c.Kind == migration.KindBegin {
		return m.beginMigration(&c, &state)
	}
	if state.Phase != migration.Loading && state.Phase != migration.Following {
		return fmt.Errorf("%w: %s", migration.ErrPhase, state.Phase)
	}
	switch c.Kind {
	case migration.KindLoad:
		return m.load(&c, &state)
	case migration.KindReplay:
		return m.replay(&c, &state)
	case migration.KindAuth:
		m.auth.Replace(m.b, &c.Auth)
		return nil
	case migration.KindLeases:
		return m.takeLeases(&c)
	default:
		return m.finishMigration(&c, &state)
	}
}

// beginMigration makes the store empty, as of the revision at which the source's history begins. A
// migration in progress starts again if the source has compacted the next revision.
func (m *Machine) beginMigration(c *migration.Command, state *migration.State) error {
	base := max(c.Base, mvcc.FirstRevision)
	switch {
	case state.Phase == migration.Finished:
		return fmt.Errorf("%w: %s", migration.ErrPhase, state.Phase)
	case state.Phase == migration.None:
		if err := m.checkNew(); err != nil {
			return err
		}
	case state.Source != c.Source:
		return fmt.Errorf("%w: it is %x, not %x", migration.ErrOtherSource, state.Source, c.Source)
	case base < m.w.Revision():
		return fmt.Errorf("%w: it is %d, the base %d is before it", migration.ErrRevision, m.w.Revision(), base)
	}
	if err := m.w.Restart(base); err != nil {
		return err
	}
	for _, t := range [...]storage.Table{storage.TableLeases, storage.TableDeadlines, storage.TableDirectories} {
		if err := m.b.DeleteRange([]byte{byte(t)}, []byte{byte(t) + 1}); err != nil {
			return fmt.Errorf("begin migration: %w", err)
		}
	}
	m.migration.Set(m.b, migration.State{
		Phase: migration.Loading, Source: c.Source, Endpoints: c.Endpoints, Base: base, Heard: m.next.time,
	})
	m.restarted = true
	return nil
}

// checkNew returns a refusal if the cluster has had any content.
func (m *Machine) checkNew() error {
	leases, err := lease.List(m.w.Reading())
	if err != nil {
		return err
	}
	users := m.auth.Next()
	if m.w.Revision() > mvcc.FirstRevision || len(leases) > 0 || len(users.UserNames())+len(users.RoleNames()) > 0 {
		return fmt.Errorf("%w: it is at revision %d with %d leases and %d users",
			migration.ErrNotNew, m.w.Revision(), len(leases), len(users.UserNames()))
	}
	return nil
}

// load takes keys as of the base. Those that are loaded already are passed over.
func (m *Machine) load(c *migration.Command, state *migration.State) error {
	if state.Phase != migration.Loading {
		return fmt.Errorf("%w: %s", migration.ErrPhase, state.Phase)
	}
	if err := m.alarms.Next().MayAdd(); err != nil {
		return err
	}
	bytes := 0
	for i := range c.Changes {
		change := &c.Changes[i]
		if change.Record.Mod.Main > state.Base {
			return fmt.Errorf("%w: revision %d of key %q is after the base %d", migration.ErrRevision, change.Record.Mod.Main, head(change.Key), state.Base)
		}
		bytes += len(change.Key) + len(change.Record.Value)
	}
	m.w.Start()
	if err := m.w.AddBytes(bytes); err != nil {
		m.w.Abort()
		return err
	}
	for i := range c.Changes {
		change := &c.Changes[i]
		if !state.Loaded.Less(change.Record.Mod) {
			continue
		}
		if err := m.w.Load(change.Key, &change.Record); err != nil {
			return err // not a refusal: the store has failed
		}
		state.Loaded = change.Record.Mod
	}
	if err := m.w.End(); err != nil {
		return err
	}
	if c.Complete {
		m.w.EndLoading()
		state.Phase = migration.Following
	}
	m.report(state, 0)
	return nil
}

// replay takes revisions with all their changes. Those that the store has already are passed over.
// It keeps the revisions before one that is refused.
func (m *Machine) replay(c *migration.Command, state *migration.State) error {
	if state.Phase != migration.Following {
		return fmt.Errorf("%w: %s", migration.ErrPhase, state.Phase)
	}
	if err := m.alarms.Next().MayAdd(); err != nil {
		return err
	}
	for changes := c.Changes; len(changes) > 0; {
		n := 1
		for n < len(changes) && changes[n].Record.Mod.Main == changes[0].Record.Mod.Main {
			n++
		}
		if err := m.replayRevision(changes[:n]); err != nil {
			return err
		}
		changes = changes[n:]
	}
	if err := m.fill(c.UpTo); err != nil {
		return err
	}
	m.report(state, max(c.Seen, m.w.Revision()))
	return nil
}

// report writes the state, in which the source was at a revision now.
func (m *Machine) report(state *migration.State, seen int64) {
	state.Seen, state.Heard = max(state.Seen, seen), m.next.time
	m.migration.Set(m.b, *state)
}

// replayRevision applies the changes of one revision.
func (m *Machine) replayRevision(changes []migration.Change) error {
	revision := changes[0].Record.Mod.Main
	if revision <= m.w.Revision() {
		return nil
	}
	if err := m.fill(revision - 1); err != nil {
		return err
	}
	m.w.Start()
	for i := range changes {
		if err := m.w.Replay(changes[i].Key, changes[i].Record); err != nil {
			m.w.Abort()
			return err
		}
	}
	return m.w.End()
}

// fill moves the store to a revision, by revisions in which no key changes.
func (m *Machine) fill(revision int64) error {
	at := m.w.Revision()
	if revision-at > mvcc.HistoryGapMax {
		return fmt.Errorf("%w: revision %d follows %d", mvcc.ErrHistory, revision, at)
	}
	for ; at < revision; at++ {
		m.w.Start()
		m.w.Advance()
		if err := m.w.End(); err != nil {
			return err
		}
	}
	return nil
}

// takeLeases replaces the leases by those of the source, whose TTLs run from now on.
func (m *Machine) takeLeases(c *migration.Command) error {
	for _, l := range c.Leases {
		if err := lease.CheckRestored(l.ID, l.TTL, l.Left); err != nil {
			return err
		}
	}
	m.w.Start()
	if err := lease.Clear(m.w); err != nil {
		return err
	}
	for _, l := range c.Leases {
		if err := lease.RestoreAt(m.b, m.next.time, l.ID, l.TTL, l.Left); err != nil {
			return err
		}
	}
	return m.w.End()
}

// finishMigration opens the cluster for writes.
func (m *Machine) finishMigration(c *migration.Command, state *migration.State) error {
	switch {
	case state.Phase != migration.Following:
		return fmt.Errorf("%w: %s", migration.ErrPhase, state.Phase)
	case c.Revision != m.w.Revision():
		return fmt.Errorf("%w: it is %d, not %d", migration.ErrRevision, m.w.Revision(), c.Revision)
	}
	state.Phase = migration.Finished
	m.report(state, c.Revision)
	return nil
}

// head returns the beginning of a key, for messages.
func head(key []byte) []byte { return key[:min(len(key), headBytes)] }

const headBytes = 64
