package machine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/kv"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

// state is a machine on a disk in memory.
type state struct {
	t   *testing.T
	fs  storage.CrashableFS
	db  *storage.Store
	m   *Machine
	got map[uint64][]*Result // by batch number
	// changes and malformed are those of all batches.
	changes   []*raftpb.ConfChangeV2
	malformed []Malformed
	// onApplied is called after every batch.
	onApplied func()
}

func newState(t *testing.T) *state {
	st := &state{t: t, fs: storage.NewCrashableFS(), got: map[uint64][]*Result{}}
	st.openStore()
	st.check(Initialize(st.db, 1, 1, []membership.Member{{ID: 1}}))
	st.openMachine()
	t.Cleanup(func() { st.close() })
	return st
}

func (st *state) check(err error) {
	st.t.Helper()
	if err != nil {
		st.t.Fatal(err)
	}
}

func (st *state) openStore() {
	var err error
	st.db, err = storage.OpenState("state", storage.Options{FS: st.fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	st.check(err)
	root, err := st.fs.OpenDir("/")
	st.check(err)
	st.check(errors.Join(root.Sync(), root.Close()))
}

func (st *state) openMachine() {
	var err error
	st.m, err = Open(st.db)
	st.check(err)
}

func (st *state) close() {
	st.check(st.m.Close())
	st.check(st.db.Close())
}

// crash loses what was not flushed.
func (st *state) crash() {
	disk := st.fs.Crash(0, rand.New(rand.NewPCG(1, 1)))
	st.close()
	st.fs = disk
	st.openStore()
	st.openMachine()
}

// apply applies entries in as many batches as necessary. Results after a replay replace those from
// before a crash.
func (st *state) apply(entries []*raftpb.Entry) error {
	for len(entries) > 0 {
		applied, err := st.m.Apply(entries, 1)
		if err != nil {
			return err
		}
		st.changes, st.malformed = append(st.changes, applied.Changes...), append(st.malformed, applied.Malformed...)
		for _, e := range applied.Results {
			got := st.got[e.Batch]
			if len(got) != e.Commands {
				got = make([]*Result, e.Commands)
				st.got[e.Batch] = got
			}
			for i := range e.Results {
				res := e.Results[i]
				got[e.First+i] = &res
			}
		}
		if st.onApplied != nil {
			st.onApplied()
		}
		entries = entries[applied.Entries:]
	}
	return nil
}

// command is a kind with its payload.
type command struct {
	kind    Kind
	payload []byte
}

func entry(index uint64, time kv.ClusterTime, commands ...command) *raftpb.Entry {
	data := Header{Time: time, Origin: 1, Batch: index}.Append(nil)
	for _, c := range commands {
		data = AppendCommand(data, c.kind, c.payload)
	}
	return rawEntry(index, data)
}

func rawEntry(index uint64, data []byte) *raftpb.Entry {
	term := uint64(1) + index/50
	return &raftpb.Entry{Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum(), Data: data}
}

func put(key, value string) command {
	return command{KindPut, AppendPut(nil, &mvcc.PutOp{Key: []byte(key), Value: []byte(value), PrevKV: true})}
}

// keep is a put that is refused when the key does not exist.
func keep(key string) command {
	return command{KindPut, AppendPut(nil, &mvcc.PutOp{Key: []byte(key), IgnoreValue: true})}
}

func del(key, end string) command {
	return command{KindDelete, AppendDelete(nil, &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte(key), End: []byte(end)}, PrevKV: true})}
}

func compact(rev int64) command { return command{KindCompact, AppendCompact(nil, rev)} }

func txn(t *mvcc.TxnOp) command { return command{KindTxn, AppendTxn(nil, t)} }

func v2(c v2tree.Command) command { return command{KindV2, c.Append(nil)} }

// dump prints the state that all members must agree on: all tables but n, which need not be equal,
// and without tombstones that a sweep may have removed.
func (st *state) dump() string {
	st.t.Helper()
	compacted := st.m.Keys().Head().CompactRevision
	var out strings.Builder
	it := st.db.NewIter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		key, value := it.Key(), it.Value()
		switch storage.Table(key[0]) {
		case storage.TableCounts:
			continue
		case storage.TableTombstones:
			if int64(binary.BigEndian.Uint64(key[1:])) <= compacted {
				continue
			}
		case storage.TableCurrent:
			if rev, n := binary.Uvarint(value[1:]); n > 0 && value[0]&1 != 0 && int64(rev) <= compacted {
				continue
			}
		}
		if len(value) > 1000 {
			value = fmt.Appendf(nil, "%d bytes %x", len(value), sha256.Sum256(value))
		}
		fmt.Fprintf(&out, "%c %q: %x\n", key[0], key[1:], value)
	}
	st.check(it.Close())
	h := st.m.Keys().Head()
	fmt.Fprintf(&out, "revision %d, compacted %d, %d keys, entry %d of term %d, time %d\n",
		h.Revision, h.CompactRevision, h.Keys(), st.m.AppliedIndex(), st.m.AppliedTerm(), st.m.ClusterTime())
	return out.String()
}

// difference returns the first lines in which two dumps differ, "" when they do not.
func difference(got, want string) string {
	if got == want {
		return ""
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d: %s\n   want: %s", i, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

func showResult(r *Result) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "at %d", r.Revision)
	if r.Err != nil {
		fmt.Fprintf(&b, " error %v", r.Err)
	}
	if p := r.Put; p.Revision != 0 {
		fmt.Fprintf(&b, " put %d", p.Revision)
		if p.Prev != nil {
			fmt.Fprintf(&b, " was %+v", *p.Prev)
		}
	}
	if d := r.Delete; d.Revision != 0 {
		fmt.Fprintf(&b, " deleted %+v", d)
	}
	if t := r.Txn; t.Revision != 0 {
		showTxn(&b, &t)
	}
	fmt.Fprintf(&b, " v2 %+v", r.V2)
	return b.String()
}

func showTxn(b *bytes.Buffer, t *mvcc.TxnResult) {
	fmt.Fprintf(b, " txn %d %v [", t.Revision, t.Succeeded)
	for _, r := range t.Results {
		switch {
		case r.Range != nil:
			fmt.Fprintf(b, " %+v", *r.Range)
		case r.Put != nil:
			fmt.Fprintf(b, " put %d %v", r.Put.Revision, r.Put.Prev != nil)
		case r.Delete != nil:
			fmt.Fprintf(b, " %+v", *r.Delete)
		case r.Txn != nil:
			showTxn(b, r.Txn)
		}
	}
	b.WriteString(" ]")
}
