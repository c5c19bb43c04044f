package machine

import (
	"sync/atomic"

	"cairn/internal/v2tree"
)

// Count has how often an operation was applied and how often it was refused.
type Count struct{ Success, Fail atomic.Uint64 }

// V2Counters counts v2's writes since the process started, including replayed ones. They are
// statistics, not part of the state, and may be read at any time.
type V2Counters struct {
	Set, Create, Update, Delete, CompareAndSwap, CompareAndDelete Count

	Expire atomic.Uint64 // nodes that have expired
}

func (c *V2Counters) count(kind v2tree.Kind, err error) {
	var n *Count
	switch kind {
	case v2tree.KindSet:
		n = &c.Set
	case v2tree.KindCreate, v2tree.KindCreateInOrder:
		n = &c.Create
	case v2tree.KindUpdate:
		n = &c.Update
	case v2tree.KindDelete:
		n = &c.Delete
	case v2tree.KindCompareAndSwap:
		n = &c.CompareAndSwap
	case v2tree.KindCompareAndDelete:
		n = &c.CompareAndDelete
	case v2tree.KindExpire:
		if err == nil { // else it was written again since, or does not exist
			c.Expire.Add(1)
		}
		return
	}
	if err == nil {
		n.Success.Add(1)
	} else {
		n.Fail.Add(1)
	}
}
