package console

import (
	"bytes"
	"errors"
	"sort"
	"strconv"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/mvcc"
)

const (
	leaseKeysDefault = 20
	// leaseKeysCountMax is the number of keys up to which those of a lease are counted.
	leaseKeysCountMax = 10_000
	// lockKeysMax limits the keys of locks and elections that a request collects.
	lockKeysMax = 20_000
	waitersMax  = 100
	// electionBytesMax is how much of an election's value is shown.
	electionBytesMax = 4 << 10
)

type leaseJSON struct {
	ID       kv.LeaseID    `json:"id,string"`
	TTL      int64         `json:"ttl"`
	Left     int64         `json:"left"`
	Keys     []base64Bytes `json:"keys"`
	KeyCount int           `json:"key_count"`
	Hidden   int           `json:"hidden_keys"` // that the caller may not read
}

type leasesResponse struct {
	Leases []leaseJSON `json:"leases"`
	Next   string      `json:"next"`

	size int64
}

func (l *leasesResponse) bytes() int64 { return l.size }

// leases returns a page of the leases, with the first of their keys that the caller may read.
func (c *call) leases() (any, error) {
	in := struct {
		From  kv.LeaseID `json:"from,string"`
		Limit int        `json:"limit"`
		Keys  int        `json:"keys"`
	}{Limit: pageDefault, Keys: leaseKeysDefault}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.Limit < 1 || in.Limit > pageMax:
		return nil, invalidf("limit %d: want 1 to %d", in.Limit, pageMax)
	case in.Keys < 0 || in.Keys > pageMax:
		return nil, invalidf("keys %d: want 0 to %d", in.Keys, pageMax)
	}
	var out *leasesResponse
	err := c.scan(func(caller *auth.Caller) error {
		out = &leasesResponse{Leases: []leaseJSON{}}
		reading, now, clock := c.member.Keys().Reading(), c.member.ClusterTime(), c.newClock()
		page, err := lease.Page(reading, in.From, in.Limit+1)
		if err != nil {
			return err
		}
		for i, l := range page {
			if i == in.Limit || i > 0 && (clock.passed() || out.size > pageBytesMax) {
				out.Next = strconv.FormatInt(int64(l.ID), 10)
				break
			}
			one := leaseJSON{ID: l.ID, TTL: l.TTL, Left: max(l.Left(now), 0), Keys: []base64Bytes{}}
			err := lease.WalkKeys(reading, l.ID, func(id kv.LeaseID, key []byte) bool {
				if id != l.ID || one.KeyCount+one.Hidden == leaseKeysCountMax {
					return false
				}
				one.add(key, caller.Subject, in.Keys)
				return true
			})
			if err != nil {
				return err
			}
			for _, key := range one.Keys {
				out.size += int64(len(key))
			}
			out.size += itemBytes
			out.Leases = append(out.Leases, one)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (l *leaseJSON) add(key []byte, subject *auth.Subject, keysMax int) {
	if !subject.CanRead(kv.KeyRange{Key: key}) {
		l.Hidden++
		return
	}
	l.KeyCount++
	if len(l.Keys) < keysMax {
		l.Keys = append(l.Keys, bytes.Clone(key))
	}
}

// turnJSON is the key of a holder, or of a waiter.
type turnJSON struct {
	Key            base64Bytes `json:"key"`
	Lease          kv.LeaseID  `json:"lease,string"`
	CreateRevision int64       `json:"create_revision"`
	ModRevision    int64       `json:"mod_revision"`
	Left           int64       `json:"left"` // seconds of the lease
	Value          base64Bytes `json:"value"`
}

type lockJSON struct {
	Name        base64Bytes `json:"name"`
	Kind        string      `json:"kind"` // lock or election
	Holder      turnJSON    `json:"holder"`
	Waiters     []turnJSON  `json:"waiters"`
	WaiterCount int         `json:"waiter_count"`
}

type locksResponse struct {
	Locks    []lockJSON `json:"locks"`
	Complete bool       `json:"complete"`

	size int64
}

func (l *locksResponse) bytes() int64 { return l.size }

// locks returns the locks and elections whose keys have the form of etcd's: NAME/LEASE, where LEASE
// is the ID of the key's lease in hexadecimal. The key that was created first belongs to the
// holder, the others wait. The keys of locks have no values, those of elections have the
// candidates'.
func (c *call) locks() (any, error) {
	var in struct {
		Prefix []byte `json:"prefix"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	var out *locksResponse
	err := c.scan(func(caller *auth.Caller) error {
		return c.retry(0, func(reading mvcc.Reading) (err error) {
			out, err = c.findLocks(reading, caller.Subject, in.Prefix)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *call) findLocks(reading mvcc.Reading, subject *auth.Subject, prefix []byte) (*locksResponse, error) {
	out := &locksResponse{Locks: []lockJSON{}, Complete: true}
	turns, clock, found := map[string][]turnJSON{}, c.newClock(), 0
	stop := errors.New("enough")
	var failed error
	err := lease.WalkKeys(reading, 0, func(id kv.LeaseID, key []byte) bool {
		if found == lockKeysMax || out.size > pageBytesMax || clock.passed() {
			failed = stop
			return false
		}
		suffix := strconv.AppendInt([]byte{'/'}, int64(id), 16)
		name, is := bytes.CutSuffix(key, suffix)
		if !is || len(name) == 0 || !bytes.HasPrefix(key, prefix) || !subject.CanRead(kv.KeyRange{Key: key}) {
			return true
		}
		found++
		rec, ok, err := reading.Get(key)
		if err != nil || !ok {
			failed = err
			return err == nil
		}
		t := turnJSON{Key: bytes.Clone(key), Lease: id, CreateRevision: rec.CreateRevision, ModRevision: rec.Mod.Main, Value: rec.Value[:min(len(rec.Value), electionBytesMax)]}
		turns[string(name)] = append(turns[string(name)], t)
		out.size += int64(len(t.Key)+len(t.Value)) + itemBytes
		return true
	})
	if errors.Is(failed, stop) {
		out.Complete, failed = false, nil
	}
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	times := leaseTimes{reading: reading, now: c.member.ClusterTime(), left: map[kv.LeaseID]int64{}}
	for name, queue := range turns {
		out.Locks = append(out.Locks, newLock(name, queue, &times))
	}
	sort.Slice(out.Locks, func(i, j int) bool { return bytes.Compare(out.Locks[i].Name, out.Locks[j].Name) < 0 })
	return out, nil
}

func newLock(name string, queue []turnJSON, times *leaseTimes) lockJSON {
	sort.Slice(queue, func(i, j int) bool { return queue[i].CreateRevision < queue[j].CreateRevision })
	l := lockJSON{Name: []byte(name), Kind: "lock", WaiterCount: len(queue) - 1}
	shown := queue[:min(len(queue), 1+waitersMax)]
	for i := range queue {
		if len(queue[i].Value) > 0 {
			l.Kind = "election"
		}
	}
	for i := range shown {
		shown[i].Left = times.of(shown[i].Lease)
	}
	l.Holder, l.Waiters = shown[0], append([]turnJSON{}, shown[1:]...)
	return l
}
