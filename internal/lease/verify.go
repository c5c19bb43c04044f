package lease

import (
	"errors"
	"fmt"
	"io"

	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// Verify checks that each lease has an entry for its deadline in table t. It returns the number of
// leases.
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
