package sim

import (
	"fmt"
	mrand "math/rand/v2"
	"slices"

	"cairn/check"
)

// client is one client: it has one request in progress at a time.
type client struct {
	w      *world
	id     int
	rng    *mrand.Rand
	work   workload
	name   string // of the workload
	user   string
	member int // to which it sends requests
	pace   int64
	values int
}

// workload draws a client's requests. Each client has its own.
type workload interface {
	// next returns the client's next request.
	next(c *client) check.Request
}

// listener is a workload that receives the responses. known is false when there was none in time.
type listener interface {
	heard(c *client, r *check.Request, resp *check.Response, known bool)
}

// starter is a workload with actions besides requests: start is called once, before the first
// request.
type starter interface{ start(c *client) }

// makeClients draws the clients and their workloads.
func (w *world) makeClients(rng *mrand.Rand) {
	var chosen []string
	for _, entry := range workloads {
		if len(w.c.Only) > 0 && !slices.Contains(w.c.Only, entry.name) || len(w.c.Only) == 0 && rng.IntN(100) >= entry.percent {
			continue
		}
		chosen = append(chosen, entry.name)
	}
	if !slices.Contains(chosen, "kv") && len(w.c.Only) == 0 {
		chosen = append(chosen, "kv", "watch")
	}
	added := w.drawLater()
	w.streaming = slices.Contains(added, "stream")
	user := ""
	if slices.Contains(chosen, "auth") || slices.Contains(added, "v2users") {
		user = "root"
	}
	if len(chosen) > 0 {
		for i := range max(len(chosen), 6) {
			w.addClient(chosen[i%len(chosen)], user, rng)
		}
	}
	later := mrand.New(mrand.NewPCG(w.c.Seed, 91))
	for _, name := range added {
		n := laterClients
		if name == "stream" {
			n *= 3 // they wait between their chunks
		}
		for range n {
			w.addClient(name, user, later)
		}
	}
}

// laterClients is the number of clients with each of laterWorkloads.
const laterClients = 3

// drawLater draws from laterWorkloads, from a separate stream of random numbers: seeds that draw
// none of them give the same runs as before.
func (w *world) drawLater() (chosen []string) {
	rng := mrand.New(mrand.NewPCG(w.c.Seed, 90))
	for _, entry := range laterWorkloads {
		drawn := rng.IntN(100) < entry.percent
		if slices.Contains(w.c.Only, entry.name) || len(w.c.Only) == 0 && drawn {
			chosen = append(chosen, entry.name)
		}
	}
	return chosen
}

func (w *world) addClient(name, user string, rng *mrand.Rand) {
	i := len(w.clients)
	c := &client{
		w: w, id: i, rng: mrand.New(mrand.NewPCG(w.c.Seed, uint64(100+i))), name: name, work: makeWorkload(name), user: user,
		pace: []int64{20, 60, 200}[rng.IntN(3)] * millisecond,
	}
	c.member = c.rng.IntN(len(w.members))
	w.clients = append(w.clients, c)
}

func makeWorkload(name string) workload {
	for _, entry := range slices.Concat(workloads, laterWorkloads) {
		if entry.name == name {
			return entry.make()
		}
	}
	panic("no workload " + name)
}

func (c *client) begin() {
	if s, ok := c.work.(starter); ok {
		s.start(c)
	}
	c.w.after(c.w.between(0, second), c.step)
}

// home returns the member that the client uses, or another one when that is down; nil when all are
// down.
func (c *client) home() *member {
	for range c.w.members {
		if m := c.w.members[c.member%len(c.w.members)]; m.up && !m.left && m.machine.AppliedIndex() > 0 {
			return m
		}
		c.member++
	}
	return nil
}

// move makes the client use another member.
func (c *client) move() { c.member += 1 + c.rng.IntN(len(c.w.members)) }

// value returns a value that no other put has.
func (c *client) value() string {
	c.values++
	return fmt.Sprintf("%d.%d", c.id, c.values)
}

// step makes the client's next request and, after its response, the one after it.
func (c *client) step() {
	w := c.w
	if w.asked >= w.limit || w.quiet {
		return
	}
	if c.rng.IntN(20) == 0 {
		c.move()
	}
	m := c.home()
	if m == nil {
		w.after(w.between(10*millisecond, 100*millisecond), c.step)
		return
	}
	w.asked++
	r := c.work.next(c)
	if r.User == "" && !r.Guest {
		r.User = c.user
	}
	c.ask(m, r, func(resp *check.Response, known bool) {
		if l, ok := c.work.(listener); ok {
			l.heard(c, &r, resp, known)
		}
		if !known {
			c.move()
		}
		w.after(w.between(0, 2*c.pace), c.step)
	})
}

// ask sends a request to a member, and records it with its result.
func (c *client) ask(m *member, r check.Request, then func(resp *check.Response, known bool)) {
	w := c.w
	w.stats.Requests++
	w.stats.Workloads[c.name]++
	at := len(w.h.Operations)
	w.h.Operations = append(w.h.Operations, check.Operation{
		Client: c.id, Call: w.now, Return: check.Never, Request: r, Member: m.name,
	})
	answered := false
	answer := func(resp *check.Response, known bool) {
		if answered {
			return
		}
		answered = true
		op := &w.h.Operations[at]
		if known {
			op.Return, op.Response = w.now, *resp
			if resp.Err == check.ErrRefused {
				w.stats.Refused++
			}
		} else {
			w.stats.Unknown++
		}
		then(resp, known)
	}
	m.later(w.between(0, delayMax), func() {
		m.serve(r, func(resp check.Response) {
			w.after(w.between(0, delayMax), func() { answer(&resp, true) })
		})
	})
	w.after(timeoutAfter, func() { answer(nil, false) })
}
