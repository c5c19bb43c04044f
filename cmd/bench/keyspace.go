package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// poolBytes is the size of the text from which values are cut. It is larger than the compression
// window that a storage engine uses on one block, so that values look random to it; a constant
// value would favor an engine that compresses.
const poolBytes = 4 << 20

// alphabet has 64 characters that need no escaping in a URL or a form, so that v2 and v3 carry the
// same bytes.
const alphabet = "-_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// keyspace names the keys 0 to keys-1 and makes values. It is immutable; all clients share it.
type keyspace struct {
	prefix     string
	keys       int
	digits     int
	valueBytes int
	sequential bool
	seed       uint64
	pool       []byte
}

func newKeyspace(s settings) (*keyspace, error) {
	digits := s.keyBytes - len(s.prefix)
	if need := len(strconv.Itoa(s.keys - 1)); digits < need {
		return nil, fmt.Errorf("-key-size %d: %d keys under %q need at least %d bytes per key", s.keyBytes, s.keys, s.prefix, len(s.prefix)+need)
	}
	k := &keyspace{
		prefix:     s.prefix,
		keys:       s.keys,
		digits:     digits,
		valueBytes: s.valueBytes,
		sequential: s.sequential,
		seed:       s.seed,
		pool:       make([]byte, poolBytes+s.valueBytes),
	}
	rng := k.random(-1)
	for i := range k.pool {
		k.pool[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return k, nil
}

// random returns client i's source of randomness, the same in each run with a seed.
func (k *keyspace) random(client int) *rand.Rand {
	return rand.New(rand.NewPCG(k.seed, uint64(client)))
}

// pick chooses the key for the request with the given ticket.
func (k *keyspace) pick(ticket uint64, rng *rand.Rand) int {
	if k.sequential {
		return int(ticket % uint64(k.keys))
	}
	return rng.IntN(k.keys)
}

// appendKey appends key i's name: the prefix and i, padded with zeros to the key size, so that
// numeric order is key order.
func (k *keyspace) appendKey(dst []byte, i int) []byte {
	dst = append(dst, k.prefix...)
	var buf [20]byte
	number := strconv.AppendInt(buf[:0], int64(i), 10)
	for range k.digits - len(number) {
		dst = append(dst, '0')
	}
	return append(dst, number...)
}

// end returns the key right after all keys that begin with the prefix.
func (k *keyspace) end() []byte {
	end := []byte(k.prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0} // every byte is 0xff: "\x00" means the end of the key space
}

// value returns a value, which the caller must not modify.
func (k *keyspace) value(rng *rand.Rand) []byte {
	offset := rng.IntN(poolBytes)
	return k.pool[offset : offset+k.valueBytes : offset+k.valueBytes]
}
