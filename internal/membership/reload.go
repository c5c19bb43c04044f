package membership

import "cairn/internal/storage"

// Reload reads the table again, after the whole state was replaced. It belongs to the applier.
func (t *Table) Reload(db *storage.Store) error {
	fresh, err := Open(db)
	if err != nil {
		return err
	}
	t.next, t.removedNext, t.changed = nil, nil, false
	t.shown.Store(fresh.shown.Load())
	t.removed.Store(fresh.removed.Load())
	return nil
}
