package alarm

import "cairn/internal/storage"

// Reload reads the alarms again, after the whole state was replaced. It belongs to the applier,
// between batches.
func (t *Table) Reload(db *storage.Store) error {
	fresh, err := Open(db)
	if err != nil {
		return err
	}
	t.next = fresh.Present()
	t.shown.Store(t.next)
	return nil
}
