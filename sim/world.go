package sim

import (
	"container/heap"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"cairn/check"
)

// Case has the parameters of a run. They replay the run exactly.
type Case struct {
	Seed uint64 `json:"seed"`
	// Members is the initial number of members; 0 means that the seed draws it.
	Members int `json:"members,omitempty"`
	// Operations is the number of requests after which the clients stop; 0 means the default.
	Operations int `json:"operations,omitempty"`
	// Without lists the faults of the plan that are left out, by number.
	Without []int `json:"without,omitempty"`
	// Only lists the workloads, by name; empty means all that the seed draws.
	Only []string `json:"only,omitempty"`
	// Bug is the name of a planted bug, see Bugs.
	Bug string `json:"bug,omitempty"`
}

// Outcome is the result of a run.
type Outcome struct {
	Case    Case
	Err     error // the first violation, or nil
	Digest  string
	History *check.History
	Faults  []string // the plan
	// Timeline has the last events of each member, for humans.
	Timeline string
	Stats    Stats
}

// Stats has counts of a run.
type Stats struct {
	Requests, Unknown, Refused, Revisions, Entries, Events int
	Crashes, Elections, Deliveries, Watches, Snapshots     int
	// InMemory counts renewals of leases without a command.
	InMemory int
	// until the cluster was available after the faults
	Ticks     int64
	Workloads map[string]int
}

// add adds a run's numbers to others.
func (s *Stats) add(o *Stats) {
	for _, p := range [...]struct{ to, from *int }{
		{&s.Requests, &o.Requests},
		{&s.Unknown, &o.Unknown},
		{&s.Refused, &o.Refused},
		{&s.Revisions, &o.Revisions},
		{&s.Entries, &o.Entries},
		{&s.Events, &o.Events},
		{&s.Crashes, &o.Crashes},
		{&s.Elections, &o.Elections},
		{&s.Deliveries, &o.Deliveries},
		{&s.Watches, &o.Watches},
		{&s.Snapshots, &o.Snapshots},
		{&s.InMemory, &o.InMemory},
	} {
		*p.to += *p.from
	}
	s.Ticks = max(s.Ticks, o.Ticks)
	if s.Workloads == nil {
		s.Workloads = map[string]int{}
	}
	for name, n := range o.Workloads {
		s.Workloads[name] += n
	}
}

// Report describes the failure, how to replay the run, and the last events of each member.
func (o *Outcome) Report() string {
	c, err := json.Marshal(o.Case)
	if err != nil {
		panic(err) // plain data
	}
	return fmt.Sprintf("%s: %v\n\nreplay: go test ./sim -run TestCase -case '%s'\n\nfaults:\n  %s\n\n%s",
		c, o.Err, c, strings.Join(o.Faults, "\n  "), o.Timeline)
}

// Units of virtual time.
const (
	millisecond = int64(time.Millisecond)
	second      = int64(time.Second)
	tick        = 100 * millisecond
	// electionTicks is the election timeout of members, in ticks.
	electionTicks = 10
	// availableTicks is the number of ticks after the faults within which every member has to serve
	// again.
	availableTicks = 150
	// timeoutAfter is how long a client waits.
	timeoutAfter = 3 * second
)

// world is one run.
type world struct {
	c Case
	// streaming is set when clients read in chunks: the log is short then, so that snapshots are
	// installed between two chunks.
	streaming bool
	rng       *mrand.Rand // the schedule's
	now       int64
	queue     events
	queued    int
	members   []*member
	net       network
	clients   []*client
	h         *check.History
	plan      []fault
	trace     *trace
	stats     Stats
	err       error
	bug       bug

	asked       int // number of requests so far
	limit       int
	quiet       bool // the faults are over
	scripted    bool // no random faults
	stableSince int64
	hashes      map[uint64]hashed // by applied index
	leases      leaseNames
}

// event is a scheduled function call.
type event struct {
	at  int64
	seq int // events of one time are executed in the order of their creation
	do  func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	last := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = event{}
	*q = (*q)[:len(*q)-1]
	return last
}

// after schedules do after a delay.
func (w *world) after(delay int64, do func()) {
	w.queued++
	heap.Push(&w.queue, event{w.now + delay, w.queued, do})
}

// between draws a duration.
func (w *world) between(low, high int64) int64 { return low + w.rng.Int64N(high-low+1) }

// fail ends the run with a violation.
func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// runUntil executes events until done reports true or the time is reached.
func (w *world) runUntil(until int64, done func() bool) {
	for w.err == nil && len(w.queue) > 0 && w.queue[0].at <= until && !done() {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		w.stats.Events++
		e.do()
	}
	if w.err == nil && !done() {
		w.now = until
	}
}

func never() bool { return false }

// running serializes runs: raft's randomness is global to the process.
var running sync.Mutex

// Run runs a case.
func Run(c Case) (out *Outcome) {
	running.Lock()
	defer running.Unlock()
	systems := rand.Reader
	defer func() { rand.Reader = systems }()
	rand.Reader = seeded(c.Seed, 1)

	w := newWorld(c)
	defer func() {
		if r := recover(); r != nil {
			w.fail("panic: %v\n%s", r, stack())
		}
		w.close()
		out = w.outcome()
	}()
	w.run()
	return nil
}

// seeded returns the bytes of a seed's stream.
func seeded(seed uint64, stream uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i], key[8+i] = byte(seed>>(8*i)), byte(stream>>(8*i))
	}
	return mrand.NewChaCha8(key)
}

func newWorld(c Case) *world {
	w := &world{
		c: c, rng: mrand.New(mrand.NewPCG(c.Seed, 2)), h: &check.History{}, trace: newTrace(), hashes: map[uint64]hashed{},
		limit: 500, stats: Stats{Workloads: map[string]int{}},
	}
	if c.Operations > 0 {
		w.limit = c.Operations
	}
	setup := mrand.New(mrand.NewPCG(c.Seed, 3))
	n := []int{1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 7}[setup.IntN(11)]
	if c.Members > 0 {
		n = c.Members
	}
	w.bug = bugs[c.Bug]
	if c.Bug != "" && w.bug == noBug {
		w.fail("there is no bug %q", c.Bug)
	}
	for i := range n {
		w.members = append(w.members, newMember(w, uint64(i+1), setup))
	}
	w.net = newNetwork(w)
	w.plan = append(drawPlan(mrand.New(mrand.NewPCG(c.Seed, 4)), n), drawSuspensions(mrand.New(mrand.NewPCG(c.Seed, 92)), n)...)
	w.makeClients(setup)
	return w
}

// run executes a run: faults, peace, and the last checks.
func (w *world) run() {
	for _, m := range w.members {
		m.found()
	}
	for i := range w.plan {
		if !slices.Contains(w.c.Without, i) {
			w.schedule(&w.plan[i])
		}
	}
	for _, c := range w.clients {
		c.begin()
	}
	w.runUntil(faultsUntil, func() bool { return w.asked >= w.limit && w.now > faultsUntil/2 })
	w.makePeace()
	w.awaitAvailable()
	// Everything with a TTL has expired by the end of this.
	w.runUntil(w.now+peaceFor, never)
	w.finish()
}

// outcome collects the result.
func (w *world) outcome() *Outcome {
	out := &Outcome{Case: w.c, Err: w.err, History: w.h, Timeline: w.trace.String(), Stats: w.stats}
	for i := range w.plan {
		out.Faults = append(out.Faults, fmt.Sprintf("%d: %v", i, w.plan[i]))
	}
	sum := sha256.New()
	sum.Write(w.trace.sum.Sum(nil)) //nolint:errcheck // never fails
	digest(sum, w.h)
	out.Digest = hex.EncodeToString(sum.Sum(nil)[:16])
	return out
}

func digest(sum hash.Hash, h *check.History) {
	if err := json.NewEncoder(sum).Encode(h); err != nil {
		panic(err) // plain data
	}
}

func (w *world) close() {
	for _, m := range w.members {
		m.stop()
	}
}
