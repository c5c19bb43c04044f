package recipes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

var isolations = map[string]concurrency.Isolation{
	"serializable snapshot": concurrency.SerializableSnapshot,
	"serializable":          concurrency.Serializable,
	"repeatable reads":      concurrency.RepeatableReads,
	"read committed":        concurrency.ReadCommitted,
}

// TestSTMTransfers transfers money between accounts concurrently: in each isolation level with
// repeatable reads the sum is constant.
func TestSTMTransfers(t *testing.T) {
	f := start(t)
	const accounts, each, workers, transfers = 5, 100, 4, 15
	for name, level := range isolations {
		if level == concurrency.ReadCommitted {
			continue // it may lose an update: TestSTMConflicts
		}
		t.Run(name, func(t *testing.T) {
			account := func(i int) string { return fmt.Sprintf("%s/%d", name, i) }
			for i := range accounts {
				_, err := f.Put(f.ctx, account(i), strconv.Itoa(each))
				f.must("put", err)
			}
			done := make(chan error, workers)
			for w := range workers {
				random := rand.New(rand.NewPCG(uint64(w), 1))
				go func() {
					for range transfers {
						from, to, amount := random.IntN(accounts), random.IntN(accounts), random.IntN(50)
						if from == to {
							continue
						}
						_, err := concurrency.NewSTM(f.Client, func(tx concurrency.STM) error {
							a, _ := strconv.Atoi(tx.Get(account(from)))
							b, _ := strconv.Atoi(tx.Get(account(to)))
							tx.Put(account(from), strconv.Itoa(a-amount))
							tx.Put(account(to), strconv.Itoa(b+amount))
							return nil
						}, concurrency.WithIsolation(level), concurrency.WithAbortContext(f.ctx), concurrency.WithPrefetch(account(from)))
						if err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range workers {
				f.must("transfer", <-done)
			}
			sum := 0
			for i := range accounts {
				n, err := strconv.Atoi(f.value(f, account(i)))
				f.must("account", err)
				sum += n
			}
			if sum != accounts*each {
				t.Errorf("there are %d, want %d", sum, accounts*each)
			}
		})
	}
}

// TestSTMConflicts changes keys that a transaction has read before it commits. Each isolation level
// must retry exactly when it forbids that.
func TestSTMConflicts(t *testing.T) {
	f := start(t)
	for name, c := range map[string]struct {
		level concurrency.Isolation
		// number of tries when another client changed a key that was only read, or read and written
		readOnly, written int
	}{
		"serializable snapshot": {concurrency.SerializableSnapshot, 2, 2},
		"serializable":          {concurrency.Serializable, 2, 2},
		"repeatable reads":      {concurrency.RepeatableReads, 2, 2},
		"read committed":        {concurrency.ReadCommitted, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, disturbed := range []string{"read", "written"} {
				want := map[string]int{"read": c.readOnly, "written": c.written}[disturbed]
				_, err := f.Put(f.ctx, "read", "0")
				f.must("put", err)
				_, err = f.Put(f.ctx, "written", "0")
				f.must("put", err)
				tries := 0
				resp, err := concurrency.NewSTM(f.Client, func(tx concurrency.STM) error {
					tries++
					seen := tx.Get("read") + tx.Get("written")
					if tries == 1 {
						if _, err := f.Put(f.ctx, disturbed, "disturbed"); err != nil {
							return err
						}
					}
					tx.Put("written", seen+"!")
					return nil
				}, concurrency.WithIsolation(c.level), concurrency.WithAbortContext(f.ctx))
				f.must("transaction", err)
				if tries != want || !resp.Succeeded {
					t.Errorf("%s changed: %d tries, want %d", disturbed, tries, want)
				}
				if rev := resp.Header.Revision; rev == 0 {
					t.Errorf("committed at revision %d", rev)
				}
			}
		})
	}
}

// TestSTMSnapshot reads two keys, and changes the second in between: a serializable transaction
// reads both at one revision.
func TestSTMSnapshot(t *testing.T) {
	f := start(t)
	_, err := f.Txn(f.ctx).Then(clientv3.OpPut("a", "old"), clientv3.OpPut("b", "old")).Commit()
	f.must("put", err)
	disturbed := false
	_, err = concurrency.NewSTM(f.Client, func(tx concurrency.STM) error {
		a := tx.Get("a")
		if !disturbed {
			disturbed = true
			if _, err := f.Txn(f.ctx).Then(clientv3.OpPut("a", "new"), clientv3.OpPut("b", "new")).Commit(); err != nil {
				return err
			}
		}
		if b := tx.Get("b"); a != b {
			return fmt.Errorf("a is %s, but b is %s", a, b)
		}
		return nil
	}, concurrency.WithIsolation(concurrency.Serializable), concurrency.WithAbortContext(f.ctx))
	f.must("transaction", err)
}

func TestSTMGivesUp(t *testing.T) {
	f := start(t)
	refused := errors.New("refused")
	if _, err := concurrency.NewSTM(f.Client, func(tx concurrency.STM) error {
		tx.Put("k", "v")
		tx.Del("other")
		return refused
	}); !errors.Is(err, refused) {
		t.Errorf("a transaction that refuses: %v", err)
	}
	if got := f.value(f, "k"); got != "" {
		t.Errorf("a refused transaction put %q", got)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	if _, err := concurrency.NewSTM(f.Client, func(tx concurrency.STM) error {
		tx.Get("k")
		return nil
	}, concurrency.WithAbortContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled transaction: %v", err)
	}
}
