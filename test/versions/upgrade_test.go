package versions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/fleet"
	"cairn/test/harness"
)

// upgrade is a cluster under load whose members change their versions.
type upgrade struct {
	*fleet.Fleet
	t                  *testing.T
	ctx                context.Context
	oldEtcd, newEtcd   string
	client             *clientv3.Client
	stopLoad, endWatch context.CancelFunc
	load, watching     sync.WaitGroup

	mu                 sync.Mutex // guards the fields below
	serving            []*fleet.Member
	acknowledged, last int // puts; the number of the last one
	retries, again     int // requests sent again, and sent more than twice
	problems           []error
	seen               map[string]int64 // events of the watch, by key
	seenRevision       int64
}

// TestRollingUpgrade upgrades a cluster of the previous version member by member, under load. Each
// request succeeds when it is sent again (see attemptsMax), no acknowledged key is lost, and the
// watch and the leases continue. In the middle a member is downgraded to the previous version. At
// the end the previous version refuses the data directory, and no downgrade is granted.
func TestRollingUpgrade(t *testing.T) {
	u := startUpgrade(t)
	for i, m := range u.Members() {
		u.swap(m, u.newEtcd)
		u.serve()
		switch i {
		case 0:
			u.goBack(m)
		case 1:
			u.lead() // both versions have led the other one
		}
	}
	u.compare(u.endLoad())
	u.checkDowngrade()
	u.checkWayBack(u.Members()[0])
}

func startUpgrade(t *testing.T) *upgrade {
	t.Helper()
	oldEtcd, newEtcd := buildPrevious(t), harness.Etcd(t) // takes minutes on a busy machine
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	u := &upgrade{t: t, ctx: ctx, oldEtcd: oldEtcd, newEtcd: newEtcd, seen: map[string]int64{}}
	u.Fleet = fleet.New(fleet.Config{Program: u.oldEtcd, Dir: t.TempDir()})
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range u.Members() {
				log := m.Log()
				t.Logf("end of the log of %s:\n%s", m.Name, log[max(0, len(log)-3000):])
			}
		}
		u.must("end", u.Close())
	})
	u.must("start of the previous version", u.Bootstrap(ctx, 3))
	var err error
	u.client, err = u.Connect(u.Members()...)
	u.must("connect", err)
	t.Cleanup(func() { _ = u.client.Close() })
	u.use(u.Members()...)
	u.startLoad()
	u.serve()
	return u
}

func (u *upgrade) must(what string, err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatalf("%s: %v", what, err)
	}
}

// use sets the members that the load goes to.
func (u *upgrade) use(members ...*fleet.Member) {
	var urls []string
	for _, m := range members {
		urls = append(urls, m.ClientURL())
	}
	u.client.SetEndpoints(urls...)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.serving = members
}

func (u *upgrade) problem(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.problems = append(u.problems, fmt.Errorf(format, args...))
}

// startLoad starts what runs during the upgrade: puts, reads, a watch, a lease that is renewed and
// requests of v2.
func (u *upgrade) startLoad() {
	var ctx, watching context.Context
	ctx, u.stopLoad = context.WithCancel(u.ctx)
	watching, u.endWatch = context.WithCancel(u.ctx)
	u.t.Cleanup(func() { // when the test has failed
		u.stopLoad()
		u.endWatch()
		u.load.Wait()
		u.watching.Wait()
	})
	kept := u.putLeased(ctx, "leased", 20)
	u.putLeased(ctx, "short", 1)
	renewed, err := u.client.KeepAlive(watching, kept)
	u.must("keep alive", err)
	events := u.client.Watch(watching, "load/", clientv3.WithPrefix(), clientv3.WithRev(1))
	for _, run := range []func(context.Context){u.put, u.get, u.setV2} {
		u.load.Go(func() { run(ctx) })
	}
	u.watching.Go(func() { u.watch(events) })
	u.watching.Go(func() {
		for range renewed {
		}
		if watching.Err() == nil {
			u.problem("the lease is no longer renewed")
		}
	})
}

// putLeased puts a key with a new lease. A lease of a second may have expired before the put, and
// the members may elect another leader: then it does so again.
func (u *upgrade) putLeased(ctx context.Context, key string, ttl int64) (id clientv3.LeaseID) {
	u.t.Helper()
	u.eventually("put with a lease", func() error {
		granted, err := u.client.Grant(ctx, ttl)
		if err == nil {
			id = granted.ID
			_, err = u.client.Put(ctx, key, "v", clientv3.WithLease(id))
		}
		return err
	})
	return id
}

// eventually retries until it succeeds. A busy machine may elect another leader at any time.
func (u *upgrade) eventually(what string, do func() error) {
	u.t.Helper()
	for err := do(); err != nil; err = do() {
		if u.ctx.Err() != nil {
			u.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// pause is the time between two requests of a loop, so that a machine of one core has time for the
// members.
const pause = 2 * time.Millisecond

// attemptsMax is how often a request is sent at least, and patience for how long. The second
// attempt succeeds, unless another leader was elected meanwhile, as happens on a machine that is
// too busy for heartbeats.
const attemptsMax = 5

// repeat calls do, again after an error, and reports whether it has succeeded.
func (u *upgrade) repeat(ctx context.Context, what string, do func(context.Context) error) bool {
	var errs []error
	for n, end := 0, time.Now().Add(patience); n < attemptsMax || time.Now().Before(end); n++ {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := do(attempt)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err == nil
		}
		errs = append(errs, err)
		u.mu.Lock()
		u.retries++
		if n > 0 {
			u.again++
		}
		u.mu.Unlock()
		time.Sleep(pause)
	}
	u.problem("%s failed %d times: %w", what, len(errs), errors.Join(errs[len(errs)-attemptsMax:]...))
	return false
}

// key returns the key of the n-th put: keys are written again and again.
func key(n int) string { return fmt.Sprintf("load/%02d", n%50) }

func (u *upgrade) put(ctx context.Context) {
	for n := 1; ctx.Err() == nil; n++ {
		if u.repeat(ctx, key(n), func(ctx context.Context) error {
			_, err := u.client.Put(ctx, key(n), fmt.Sprint(n))
			return err
		}) {
			u.mu.Lock()
			u.acknowledged, u.last = u.acknowledged+1, n
			u.mu.Unlock()
		}
	}
}

// get reads the key that was put last: a linearizable read sees that put or a later one.
func (u *upgrade) get(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(pause) {
		u.mu.Lock()
		n := u.last
		u.mu.Unlock()
		if n == 0 {
			continue
		}
		u.repeat(ctx, "get", func(ctx context.Context) error {
			got, err := u.client.Get(ctx, key(n))
			if err == nil && (len(got.Kvs) == 0 || number(got.Kvs[0].Value) < n) {
				u.problem("get after put %d: %v", n, got.Kvs)
			}
			return err
		})
	}
}

func number(value []byte) (n int) {
	_, _ = fmt.Sscan(string(value), &n)
	return n
}

// setV2 sets a key through v2, at each member in turn.
func (u *upgrade) setV2(ctx context.Context) {
	for n := 0; ctx.Err() == nil; time.Sleep(pause) {
		u.repeat(ctx, "v2", func(ctx context.Context) error {
			u.mu.Lock()
			m := u.serving[n%len(u.serving)]
			u.mu.Unlock()
			n++
			status, body, err := m.Do(ctx, http.MethodPut, "/v2/keys/dir/key", url.Values{"value": {fmt.Sprint(n)}}.Encode())
			if err != nil {
				return err
			}
			var answer struct{ Node struct{ Value string } }
			if err := json.Unmarshal(body, &answer); err != nil || status/100 != 2 || answer.Node.Value != fmt.Sprint(n) {
				return fmt.Errorf("status %d: %s", status, body)
			}
			return nil
		})
	}
}

// watch counts the events of each key.
func (u *upgrade) watch(events clientv3.WatchChan) {
	for resp := range events {
		if err := resp.Err(); err != nil {
			u.problem("watch: %w", err)
			return
		}
		u.mu.Lock()
		for _, e := range resp.Events {
			if e.Kv.ModRevision <= u.seenRevision {
				u.problems = append(u.problems, fmt.Errorf("watch: revision %d after %d", e.Kv.ModRevision, u.seenRevision))
			}
			u.seenRevision = e.Kv.ModRevision
			u.seen[string(e.Kv.Key)]++
		}
		u.mu.Unlock()
	}
}

// serve waits until the load has progressed, and puts a key through each member, which all others
// must then have.
func (u *upgrade) serve() {
	u.t.Helper()
	u.must("health", u.AwaitHealthy(u.ctx))
	for i, m := range u.Members() {
		c, err := u.Connect(m)
		u.must("connect", err)
		u.eventually("put through "+m.Name, func() error {
			_, err := c.Put(u.ctx, "through", m.Name)
			return err
		})
		u.must("close", c.Close())
		other := u.Members()[(i+1)%len(u.Members())]
		c, err = u.Connect(other)
		u.must("connect", err)
		var got *clientv3.GetResponse
		u.eventually("get from "+other.Name, func() (err error) {
			got, err = c.Get(u.ctx, "through")
			return err
		})
		if string(got.Kvs[0].Value) != m.Name {
			u.t.Fatalf("get of %s's put from %s: %v", m.Name, other.Name, got.Kvs)
		}
		u.must("close", c.Close())
	}
	u.progress()
}

// progress waits until 20 further puts are acknowledged.
func (u *upgrade) progress() {
	u.t.Helper()
	done := func() int {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.acknowledged
	}
	for want := done() + 20; done() < want; time.Sleep(5 * time.Millisecond) {
		u.must("progress of the puts", u.ctx.Err())
	}
}

// swap stops a member and starts it with another program.
func (u *upgrade) swap(m *fleet.Member, program string) {
	u.t.Helper()
	state, err := m.Stop()
	if err != nil || !state.Success() {
		u.t.Fatalf("stop %s: %v, %v", m.Name, state, err)
	}
	m.SetProgram(program)
	u.must("start "+m.Name, m.Start())
	u.must("health of "+m.Name, m.AwaitHealthy(u.ctx))
}

// goBack downgrades a member while the cluster has members of the previous version, and then
// upgrades it again. The previous version does not read this version's files, so the member joins
// as a new one, with an empty data directory.
func (u *upgrade) goBack(m *fleet.Member) {
	u.t.Helper()
	var others []*fleet.Member
	for _, other := range u.Members() {
		if other != m {
			others = append(others, other)
		}
	}
	u.use(others...) // a learner serves no requests
	m.SetProgram(u.oldEtcd)
	u.must("return of "+m.Name, u.Replace(u.ctx, m))
	u.use(u.Members()...)
	u.serve()
	u.swap(m, u.newEtcd)
}

// lead has each member lead in turn.
func (u *upgrade) lead() {
	u.t.Helper()
	for _, to := range u.Members() {
		u.eventually("move leadership to "+to.Name, func() error {
			leader, err := u.Leader(u.ctx)
			if err != nil || leader == to {
				return err
			}
			c, err := u.Connect(leader)
			if err != nil {
				return err
			}
			_, err = c.MoveLeader(u.ctx, to.ID())
			return errors.Join(err, c.Close())
		})
		u.progress()
	}
}

// endLoad ends the load, and the watch once it has caught up. It returns the keys of the puts.
func (u *upgrade) endLoad() *clientv3.GetResponse {
	u.t.Helper()
	u.stopLoad()
	u.load.Wait()
	var got *clientv3.GetResponse
	u.eventually("get", func() (err error) {
		got, err = u.client.Get(u.ctx, "load/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend))
		return err
	})
	last := got.Kvs[len(got.Kvs)-1].ModRevision
	seen := func() int64 {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.seenRevision
	}
	for ; seen() < last; time.Sleep(pause) {
		u.must(fmt.Sprintf("the watch at revision %d of %d", seen(), last), u.ctx.Err())
	}
	u.endWatch()
	u.watching.Wait()
	return got
}

// compare compares what was seen with what the members have.
func (u *upgrade) compare(got *clientv3.GetResponse) {
	u.t.Helper()
	for _, err := range u.problems {
		u.t.Error(err)
	}
	versions, newest := int64(0), 0
	for _, kv := range got.Kvs {
		versions += kv.Version
		newest = max(newest, number(kv.Value))
		if seen := u.seen[string(kv.Key)]; seen != kv.Version {
			u.t.Errorf("%s: the watch has seen %d of %d changes", kv.Key, seen, kv.Version)
		}
	}
	if versions < int64(u.acknowledged) || newest < u.last {
		u.t.Errorf("%d puts up to number %d are there; %d up to %d were acknowledged", versions, newest, u.acknowledged, u.last)
	}
	for name, want := range map[string]int{"leased": 1, "short": 0} {
		var got *clientv3.GetResponse
		u.eventually("get "+name, func() (err error) {
			got, err = u.client.Get(u.ctx, name)
			return err
		})
		if len(got.Kvs) != want {
			u.t.Errorf("%s: %v; want %d keys", name, got.Kvs, want)
		}
	}
	revision := got.Header.Revision
	var first *clientv3.HashKVResponse
	for _, m := range u.Members() {
		var hash *clientv3.HashKVResponse
		// a member that lags does not have the revision yet
		u.eventually("hash of "+m.Name, func() (err error) {
			hash, err = u.client.HashKV(u.ctx, m.ClientURL(), revision)
			return err
		})
		if first == nil {
			first = hash
		}
		if hash.Hash != first.Hash {
			u.t.Errorf("%s has the hash %x at revision %d, %s has %x", m.Name, hash.Hash, revision, u.Members()[0].Name, first.Hash)
		}
		if status, err := u.Status(u.ctx, m); err != nil || status.Version != "3.7.1" {
			u.t.Errorf("status of %s: %v, %v", m.Name, status, err)
		}
	}
	u.t.Logf("%d puts, %d events, %d requests sent again, %d more than once", u.acknowledged, versions, u.retries, u.again)
}

// checkDowngrade checks what docs/versions.md says of Maintenance/Downgrade: none is granted, and
// the refusal of the version before names the way back.
func (u *upgrade) checkDowngrade() {
	u.t.Helper()
	for _, action := range []clientv3.DowngradeAction{clientv3.DowngradeValidate, clientv3.DowngradeEnable} {
		if _, err := u.client.Downgrade(u.ctx, action, "3.6"); err == nil || !strings.Contains(err.Error(), "cannot downgrade to 3.6") {
			u.t.Errorf("downgrade, action %d: %v", action, err)
		}
		if _, err := u.client.Downgrade(u.ctx, action, "3.7"); !errors.Is(err, rpctypes.ErrInvalidDowngradeTargetVersion) {
			u.t.Errorf("downgrade to the same minor version, action %d: %v", action, err)
		}
	}
	if _, err := u.client.Downgrade(u.ctx, clientv3.DowngradeCancel, ""); !errors.Is(err, rpctypes.ErrNoInflightDowngrade) {
		u.t.Errorf("cancel: %v", err)
	}
}

// checkWayBack checks that the previous version refuses a data directory of this one and leaves it
// as it is, and that it restores a backup which it made itself (TestBackup's).
func (u *upgrade) checkWayBack(m *fleet.Member) {
	u.t.Helper()
	_, err := m.Stop()
	u.must("stop "+m.Name, err)
	m.SetProgram(u.oldEtcd)
	u.must("start "+m.Name, m.Start())
	state, err := m.AwaitEnd(u.ctx)
	if err != nil || state.Success() || !strings.Contains(m.Log(), "is no name of a journal's file") {
		u.t.Errorf("version %s over the data directory of this one ended with %v, %v", previous, state, err)
	}
	m.SetProgram(u.newEtcd)
	u.must("start "+m.Name, m.Start())
	u.must("health of "+m.Name, m.AwaitHealthy(u.ctx))
}
