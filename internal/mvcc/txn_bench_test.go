package mvcc

import (
	"fmt"
	"testing"

	"cairn/internal/kv"
)

// BenchmarkTxnRange measures how long a transaction that writes and reads 20 MB holds the applier.
func BenchmarkTxnRange(b *testing.B) {
	for _, values := range []int{100_000, 1_000, 100} {
		b.Run(fmt.Sprintf("valueBytes=%d", values), func(b *testing.B) {
			s := newBenchStore(b)
			value := make([]byte, values)
			s.apply(20_000_000/values, func(i int) error {
				_, err := s.w.Put(&PutOp{Key: benchKey(i), Value: value})
				return err
			})
			txn := &TxnOp{Success: []Op{
				{Put: &PutOp{Key: []byte("x"), Value: []byte("y")}},
				{Range: &RangeOp{KeyRange: kv.KeyRange{Key: []byte{0}, End: []byte{0}}}},
			}}
			b.Run("result", func(b *testing.B) {
				s.apply(b.N, func(int) error {
					_, err := s.w.Txn(txn)
					return err
				})
			})
			b.Run("deferred", func(b *testing.B) {
				s.apply(b.N, func(int) error {
					_, err := s.w.TxnDeferring(txn, 256<<10)
					return err
				})
			})
			b.Run("no-result", func(b *testing.B) {
				s.apply(b.N, func(int) error { return s.w.TxnWithoutKeys(txn) })
			})
		})
	}
}
