package config

import "fmt"

// memoryLimitMin is the least memory that a member works with: package budget divides it among the
// stores' caches, the queues and the clients.
const memoryLimitMin = 256 << 20

// setMemory reads --memory-limit.
func setMemory(to *int64, v string) error {
	var n int64
	if err := setBytes(&n, v); err != nil {
		return err
	}
	switch {
	case n < 0:
		return fmt.Errorf("%q is not a number of bytes: want 1073741824 or 1GiB", v)
	case n != 0 && n < memoryLimitMin:
		return fmt.Errorf("%q is too little: a member needs at least %d MiB", v, memoryLimitMin>>20)
	}
	*to = n
	return nil
}
