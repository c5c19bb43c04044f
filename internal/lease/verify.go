package lease

import (
	"errors"
	"fmt"
	"io"

	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// Verify compares leases with their deadlines: each lease has one in table t. It returns how many
// leases there are.
func Verify(r mvcc.Reading) (n int, err error) {
	all, err := List(r)
	if err != nil {
		return 0, err
	}
	for i := range all {
		l := &all[i]
		_, closer, err := r.Lend(deadlineKey(l.Deadline, l.ID))
		if errors.Is(err, storage.ErrNotFound) {
			return 0, fmt.Errorf("%w: lease %x has no entry for its deadline %d", ErrCorrupt, uint64(l.ID), l.Deadline)
		}
		if err = errors.Join(err, closeLent(closer)); err != nil {
			return 0, err
		}
	}
	return len(all), nil
}

func closeLent(c io.Closer) error {
	if c == nil {
		return nil
	}
	return c.Close()
}
