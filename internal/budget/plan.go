package budget

// Plan divides the memory that a process may use among its parts. All are bytes.
type Plan struct {
	// Limit is what is divided.
	Limit int64
	// Collector is the limit of Go's garbage collector for the heap. The heap may exceed it for a
	// moment, and the program itself does not count.
	Collector int64
	// Clients is the size of the Budget.
	Clients int64

	StateCache, LogCache int64
	// The state has up to four memtables, the log two.
	StateMemTable, LogMemTable int64
	Recent                     int64 // of values written last
	Entries                    int64 // raft entries not yet applied
	Requests                   int64 // requests not yet answered
	Batch                      int64 // changes in a batch of the state
	Events                     int64 // events that wait for dispatch, and as many for watchers
	WatchKeys                  int64
}

// fullLimit is the limit from which on the parts other than Clients have their full sizes.
const fullLimit = 2 << 30

// PlanFor divides limit. Without a limit, 0, the parts have their full sizes, and Clients and
// Collector are 0.
func PlanFor(limit int64) Plan {
	scaled := func(full, least int64) int64 {
		if limit == 0 || limit >= fullLimit {
			return full
		}
		return max(least, int64(float64(full)*float64(limit)/fullLimit)&^4095)
	}
	return Plan{
		Limit:         limit,
		Collector:     limit - limit/5,
		Clients:       limit / 4,
		StateCache:    scaled(128<<20, 8<<20),
		LogCache:      scaled(8<<20, 1<<20),
		StateMemTable: scaled(16<<20, 4<<20),
		LogMemTable:   scaled(16<<20, 2<<20),
		Recent:        scaled(48<<20, 4<<20),
		Entries:       scaled(64<<20, 8<<20),
		Requests:      scaled(128<<20, 16<<20),
		Batch:         scaled(64<<20, 8<<20),
		Events:        scaled(64<<20, 8<<20),
		WatchKeys:     scaled(256<<20, 32<<20),
	}
}
