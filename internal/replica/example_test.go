package replica_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/raftlog"
	"cairn/internal/replica"
	"cairn/internal/storage"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// openStores makes the stores of the only member of a cluster, on a disk in memory.
func openStores() (logStore, stateStore *storage.Store) {
	options := storage.Options{FS: storage.NewCrashableFS(), CacheBytes: 4 << 20, MemTableBytes: 1 << 20}
	logStore, err := storage.OpenLog("log", options)
	must(err)
	stateStore, err = storage.OpenState("state", options)
	must(err)
	// The initial membership counts as entry 1 of term 1.
	must(errors.Join(machine.Initialize(stateStore, 1, 1, []membership.Member{{ID: 1}}), raftlog.Initialize(logStore, 1, 1)))
	return logStore, stateStore
}

// A replica is stepped by its caller: here one goroutine carries all three roles, one after the
// other, until there is no more work. Package member has a goroutine for each, package sim a
// scheduler.
func Example() {
	logStore, stateStore := openStores()
	defer func() { must(errors.Join(logStore.Close(), stateStore.Close())) }()
	state, err := machine.Open(stateStore)
	must(err)
	defer func() { must(state.Close()) }()
	entries, err := raftlog.Open(logStore, state.AppliedIndex(), state.ConfState())
	must(err)
	r, err := replica.New(replica.Config{
		ID: 1, ElectionTicks: 10, Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
		FS: storage.NewCrashableFS(), ReceiveDir: "receive",
	}, entries, state)
	must(err)

	const now = time.Duration(0) // on the caller's monotonic clock
	work := func() {
		for {
			w, ok := r.Work(now)
			if !ok {
				return
			}
			if w.Elected {
				fmt.Println("leads in term", r.Term())
			}
			if w.Append != nil { // the log writer: one fsync, then the responses go back to raft
				responses, _, err := r.Append([]*raftpb.Message{w.Append})
				must(err)
				for _, m := range responses {
					must(r.Step(now, m))
				}
			}
			if w.Apply != nil { // the applier: one batch
				batch, applied, err := r.Apply([]*raftpb.Message{w.Apply})
				must(err)
				for _, e := range batch.Results {
					fmt.Printf("batch %d put at revision %d\n", e.Batch, e.Results[0].Revision)
				}
				must(r.Finish(now, applied))
			}
		}
	}

	must(r.Campaign())
	work()
	put := machine.AppendPut(nil, &mvcc.PutOp{Key: []byte("color"), Value: []byte("blue")})
	must(r.Propose(now, 7, []replica.Command{{Kind: machine.KindPut, Payload: put}}))
	work()

	var found mvcc.Collector
	_, err = state.Keys().Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("color")}}, &found)
	must(err)
	fmt.Printf("%s=%s\n", found.Keys[0].Key, found.Keys[0].Value)
	// Output:
	// leads in term 2
	// batch 7 put at revision 2
	// color=blue
}
