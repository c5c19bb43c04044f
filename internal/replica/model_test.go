package replica

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

// The load: each batch of commands begins with a put of its number under batchKey, so that a store
// shows how many batches it has.
const (
	batchKey = "batch"
	pairA    = "pair/a" // always written by one transaction
	pairB    = "pair/b"
)

// change is a command's change of one key; a nil value deletes the key.
type change struct{ key, value string }

// step is a command and its effect on the model.
type step struct {
	command Command
	changes []change
	refused bool
	compact int64
}

func putPayload(key, value string) []byte {
	return machine.AppendPut(nil, &mvcc.PutOp{Key: []byte(key), Value: []byte(value)})
}

// drawBatch makes the commands of batch number n, for a state at revision rev.
func drawBatch(rng *rand.Rand, n uint64, rev int64) []step {
	number := strconv.FormatUint(n, 10)
	steps := []step{{Command{machine.KindPut, putPayload(batchKey, number)}, []change{{batchKey, number}}, false, 0}}
	for i := range rng.IntN(4) {
		value := fmt.Sprintf("%s.%d", number, i)
		key := fmt.Sprintf("k%d", rng.IntN(6))
		switch rng.IntN(8) {
		case 0, 1, 2:
			steps = append(steps, step{Command{machine.KindPut, putPayload(key, value)}, []change{{key, value}}, false, 0})
		case 3, 4:
			put := func(key string) mvcc.Op { return mvcc.Op{Put: &mvcc.PutOp{Key: []byte(key), Value: []byte(value)}} }
			p := machine.AppendTxn(nil, &mvcc.TxnOp{Success: []mvcc.Op{put(pairA), put(pairB)}})
			steps = append(steps, step{Command{machine.KindTxn, p}, []change{{pairA, value}, {pairB, value}}, false, 0})
		case 5:
			p := machine.AppendDelete(nil, &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte(key)}})
			steps = append(steps, step{Command{machine.KindDelete, p}, []change{{key, ""}}, false, 0})
		case 6:
			p := machine.AppendPut(nil, &mvcc.PutOp{Key: []byte("never there"), IgnoreValue: true})
			steps = append(steps, step{command: Command{machine.KindPut, p}, refused: true})
		default:
			at := rev - rng.Int64N(30)
			steps = append(steps, step{command: Command{machine.KindCompact, machine.AppendCompact(nil, at)}, compact: at})
		}
	}
	return steps
}

// model is the expected content of a store after some batches.
type model struct {
	keys    map[string]kv.Record
	rev     int64
	compact int64
	// revisions has the keys at every revision, and results the revision after every command, by
	// batch.
	revisions map[int64]map[string]kv.Record
	results   map[uint64][]int64
}

func newModel() *model {
	return &model{
		keys: map[string]kv.Record{}, rev: mvcc.FirstRevision,
		revisions: map[int64]map[string]kv.Record{mvcc.FirstRevision: {}}, results: map[uint64][]int64{},
	}
}

// replay returns the model after the first n batches.
func replay(batches [][]step, n uint64) *model {
	m := newModel()
	for i, b := range batches[:n] {
		for _, s := range b {
			m.apply(&s)
			m.results[uint64(i+1)] = append(m.results[uint64(i+1)], m.rev)
		}
	}
	return m
}

func (m *model) apply(s *step) {
	if s.compact > m.compact && s.compact <= m.rev {
		m.compact = s.compact
	}
	mod := kv.Revision{Main: m.rev + 1}
	for _, c := range s.changes {
		old, live := m.keys[c.key]
		r := kv.Record{CreateRevision: mod.Main, Version: 1, Mod: mod, Value: []byte(c.value)}
		switch {
		case c.value != "" && live:
			r.CreateRevision, r.Version = old.CreateRevision, old.Version+1
			m.keys[c.key] = r
		case c.value != "":
			m.keys[c.key] = r
		case live:
			delete(m.keys, c.key)
		default:
			continue
		}
		mod.Sub++
	}
	if mod.Sub > 0 {
		m.rev = mod.Main
		m.revisions[m.rev] = maps.Clone(m.keys)
	}
}

// batchesIn returns the number of batches in a store.
func batchesIn(keys *mvcc.Store) (uint64, error) {
	var c mvcc.Collector
	if _, err := keys.Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte(batchKey)}}, &c); err != nil {
		return 0, err
	}
	if len(c.Keys) == 0 {
		return 0, nil
	}
	return strconv.ParseUint(string(c.Keys[0].Value), 10, 64)
}

var everything = kv.KeyRange{Key: []byte{0}, End: []byte{0}}

// compare returns the difference between a store and the model: in its keys, or in its history.
func (m *model) compare(keys *mvcc.Store) error {
	head := keys.Head()
	if head.Revision != m.rev || head.CompactRevision != m.compact || head.Keys() != int64(len(m.keys)) {
		return fmt.Errorf("revision %d, compacted %d, %d keys; want %d, %d, %d",
			head.Revision, head.CompactRevision, head.Keys(), m.rev, m.compact, len(m.keys))
	}
	for rev := max(m.compact, mvcc.FirstRevision); rev <= m.rev; rev++ {
		var c mvcc.Collector
		sum, err := keys.Range(&mvcc.RangeOp{KeyRange: everything, Revision: rev}, &c)
		if err != nil {
			return fmt.Errorf("read revision %d: %w", rev, err)
		}
		want, ok := m.revisions[rev]
		if !ok {
			return fmt.Errorf("no revision %d in the model", rev)
		}
		if len(c.Keys) != len(want) || sum.Count != int64(len(want)) {
			return fmt.Errorf("revision %d: %d keys, count %d, want %d", rev, len(c.Keys), sum.Count, len(want))
		}
		for _, k := range c.Keys {
			w := want[string(k.Key)]
			if k.Mod != w.Mod || k.CreateRevision != w.CreateRevision || k.Version != w.Version || !slices.Equal(k.Value, w.Value) {
				return fmt.Errorf("revision %d: %s is %+v, want %+v", rev, k.Key, k.Record, w)
			}
		}
	}
	return nil
}

// checkResults compares the results of a batch's commands with the model.
func (m *model) checkResults(batch uint64, steps []step, results []*machine.Result) error {
	for i, r := range results {
		if r.Revision != m.results[batch][i] {
			return fmt.Errorf("batch %d, command %d has revision %d, want %d", batch, i, r.Revision, m.results[batch][i])
		}
		if refused := errors.Is(r.Err, mvcc.ErrKeyNotFound); refused != steps[i].refused {
			return fmt.Errorf("batch %d, command %d: refused is %t, want %t", batch, i, refused, steps[i].refused)
		}
	}
	return nil
}
