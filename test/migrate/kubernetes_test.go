package migrate

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"

	"cairn/test/harness"
)

const podPrefix = "/registry/pods/"

// TestMigrationOfAPIServers moves an etcd under API servers: clients with the calls of Kubernetes'
// storage, which list once, watch from the list's revision, and write by a compare of the mod
// revision that they know. After `migrate finish` they go on at the new cluster with what they
// know: none lists again, no event is lost or repeated, no revision differs.
func TestMigrationOfAPIServers(t *testing.T) {
	const pods = 20
	w := newWorld(t)
	for i := range pods {
		if r, err := kubernetesClient(t, w.old).Kubernetes.OptimisticPut(t.Context(), pod(i), []byte("0"), 0, kubernetes.PutOptions{}); err != nil || !r.Succeeded {
			t.Fatal(r, err)
		}
	}
	restarted := newCache(t, kubernetesClient(t, w.old))
	redirected := newCache(t, kubernetesClient(t, w.old))
	restarted.watch()
	redirected.watch()
	run := w.begin()
	w.awaitFollowing()

	writers := make([]*podWriter, 4)
	var wg sync.WaitGroup
	for i := range writers {
		writers[i] = newPodWriter(t, w, i*pods/len(writers), pods/len(writers))
		wg.Go(func() { writers[i].run(t.Context()) })
	}
	for _, x := range writers {
		harness.Await(t, "a writer writes to the old cluster", func() bool { return x.count(false) > 20 })
	}
	w.etcdctl("migrate", "finish", "--from", w.old.URL())
	<-run.Exited()
	for _, x := range writers {
		harness.Await(t, "a writer writes to the new cluster", func() bool { return x.count(true) > 20 })
	}

	// One API server starts again with other endpoints. The other one gets them while it runs: the
	// Go client keeps its watches at the old cluster, until that stops.
	restarted.stop()
	restarted.client = kubernetesClient(t, w.next)
	restarted.watch()
	redirected.client.SetEndpoints(w.next.URL())
	w.old.Stop()
	for _, x := range writers {
		x.end()
	}
	wg.Wait()
	final, err := kubernetesClient(t, w.next).Kubernetes.List(t.Context(), podPrefix, kubernetes.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*cache{"restarted": restarted, "redirected": redirected} {
		harness.Await(t, "the "+name+" API server has seen every write", func() bool { return c.revision() >= lastModified(final.Kvs) })
		c.stop()
		c.check(name, final.Kvs)
	}
	for _, x := range writers {
		x.check(t, final.Kvs)
	}
	t.Logf("%d events, %d writes to the old cluster, %d to the new one", restarted.events, writers[0].count(false), writers[0].count(true))
}

func pod(i int) string { return fmt.Sprintf("%sdefault/%03d", podPrefix, i) }

func lastModified(all []*mvccpb.KeyValue) (revision int64) {
	for _, k := range all {
		revision = max(revision, k.ModRevision)
	}
	return revision
}

func kubernetesClient(t *testing.T, s *harness.Server) *kubernetes.Client {
	t.Helper()
	c, err := kubernetes.New(clientv3.Config{Endpoints: []string{s.URL()}, Logger: zap.NewNop(), DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// cache is a watch cache: the objects as of a resource version, from one list and the events since.
type cache struct {
	t      *testing.T
	client *kubernetes.Client
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex // guards the fields below
	version int64      // resource version of the last list or event
	objects map[string]*mvccpb.KeyValue
	events  int
	faults  []string
}

// newCache lists the objects, which happens only once.
func newCache(t *testing.T, client *kubernetes.Client) *cache {
	t.Helper()
	all, err := client.Kubernetes.List(t.Context(), podPrefix, kubernetes.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &cache{t: t, client: client, version: all.Revision, objects: map[string]*mvccpb.KeyValue{}}
	for _, k := range all.Kvs {
		c.objects[string(k.Key)] = k
	}
	return c
}

// watch watches from the resource version on, as Kubernetes' storage does.
func (c *cache) watch() {
	ctx, cancel := context.WithCancel(c.t.Context())
	c.cancel, c.ended = cancel, make(chan struct{})
	events := c.client.Watch(ctx, podPrefix, clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(c.revision()+1))
	go func() {
		defer close(c.ended)
		for r := range events {
			if err := r.Err(); err != nil && ctx.Err() == nil {
				c.fault("watch: %v", err)
			}
			for _, e := range r.Events {
				c.apply(e)
			}
		}
	}()
}

func (c *cache) stop() {
	c.cancel()
	<-c.ended
}

func (c *cache) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *cache) revision() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// apply applies an event. Its previous object must be the cached one: a lost event of the object
// would differ.
func (c *cache) apply(e *clientv3.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := string(e.Kv.Key)
	if e.Kv.ModRevision <= c.version {
		c.faults = append(c.faults, fmt.Sprintf("event of revision %d after revision %d", e.Kv.ModRevision, c.version))
	}
	if was := c.objects[key]; (was == nil) != (e.PrevKv == nil) || was != nil && describe(was) != describe(e.PrevKv) {
		c.faults = append(c.faults, fmt.Sprintf("revision %d of %s replaced %v, the cache has %v", e.Kv.ModRevision, key, e.PrevKv, was))
	}
	c.version = e.Kv.ModRevision
	c.events++
	if e.Type == mvccpb.DELETE {
		delete(c.objects, key)
		return
	}
	c.objects[key] = e.Kv
}

func describe(k *mvccpb.KeyValue) string {
	return fmt.Sprintf("%q=%q create %d mod %d version %d", k.Key, k.Value, k.CreateRevision, k.ModRevision, k.Version)
}

// check compares the cache with a list.
func (c *cache) check(name string, want []*mvccpb.KeyValue) {
	c.t.Helper()
	for _, fault := range c.faults {
		c.t.Errorf("%s API server: %s", name, fault)
	}
	if len(c.objects) != len(want) {
		c.t.Errorf("%s API server: %d objects, want %d", name, len(c.objects), len(want))
	}
	for _, k := range want {
		if is := c.objects[string(k.Key)]; is == nil || describe(is) != describe(k) {
			c.t.Errorf("%s API server: object %v, want %v", name, is, k)
		}
	}
}

// podWriter updates its own pods: each update compares with the mod revision of its last one, and
// increments the value. It changes over to the new cluster when the old one refuses a write.
type podWriter struct {
	t         *testing.T
	old, next *kubernetes.Client
	first, n  int
	done      chan struct{}

	mu        sync.Mutex // guards the fields below
	known     map[string]*mvccpb.KeyValue
	moved     bool
	writes    map[bool]int // by moved
	conflicts []string
}

func newPodWriter(t *testing.T, w *world, first, n int) *podWriter {
	t.Helper()
	x := &podWriter{
		t: t, old: kubernetesClient(t, w.old), next: kubernetesClient(t, w.next), first: first, n: n,
		done: make(chan struct{}), known: map[string]*mvccpb.KeyValue{}, writes: map[bool]int{},
	}
	for i := first; i < first+n; i++ {
		r, err := x.old.Kubernetes.Get(t.Context(), pod(i), kubernetes.GetOptions{})
		if err != nil || r.KV == nil {
			t.Fatal(r, err)
		}
		x.known[pod(i)] = r.KV
	}
	return x
}

func (x *podWriter) end() { close(x.done) }

func (x *podWriter) count(moved bool) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.writes[moved]
}

func (x *podWriter) run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		select {
		case <-x.done:
			return
		default:
			x.update(ctx, pod(x.first+i%x.n), i%7 == 6)
		}
	}
}

// update writes a pod, or deletes it and creates it again with the next update.
func (x *podWriter) update(ctx context.Context, key string, remove bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	client := x.old
	if x.moved {
		client = x.next
	}
	was, expected, value := x.known[key], int64(0), "0"
	if was != nil {
		expected = was.ModRevision
		n, err := strconv.Atoi(string(was.Value))
		if err != nil {
			x.conflicts = append(x.conflicts, err.Error())
			return
		}
		value = strconv.Itoa(n + 1)
	}
	var succeeded bool
	var is *mvccpb.KeyValue
	var err error
	if remove && was != nil {
		var r kubernetes.DeleteResponse
		r, err = client.Kubernetes.OptimisticDelete(ctx, key, expected, kubernetes.DeleteOptions{GetOnFailure: true})
		succeeded, is = r.Succeeded, r.KV
		was = nil
	} else {
		var r kubernetes.PutResponse
		r, err = client.Kubernetes.OptimisticPut(ctx, key, []byte(value), expected, kubernetes.PutOptions{GetOnFailure: true})
		succeeded, is = r.Succeeded, r.KV
		was = next(was, key, value, r.Revision)
	}
	switch {
	case err != nil && !x.moved && strings.Contains(err.Error(), "corrupt"): // refused: not applied
		x.moved = true
	case err != nil && x.moved && strings.Contains(err.Error(), "refuses writes"): // finish has not opened the new cluster yet
	case err != nil:
		x.conflicts = append(x.conflicts, fmt.Sprintf("%s: %v", key, err))
	case !succeeded:
		x.conflicts = append(x.conflicts, fmt.Sprintf("%s: not at revision %d but %v (new cluster: %t)", key, expected, is, x.moved))
	default:
		x.known[key] = was
		x.writes[x.moved]++
	}
}

// next returns the object after a write.
func next(was *mvccpb.KeyValue, key, value string, revision int64) *mvccpb.KeyValue {
	k := &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: revision, ModRevision: revision, Version: 1}
	if was != nil {
		k.CreateRevision, k.Version = was.CreateRevision, was.Version+1
	}
	return k
}

// check: no write found another revision than the writer knew, and the last writes are there.
func (x *podWriter) check(t *testing.T, all []*mvccpb.KeyValue) {
	t.Helper()
	for i, conflict := range x.conflicts {
		if i < 5 {
			t.Errorf("writer: %s", conflict)
		}
	}
	listed := map[string]*mvccpb.KeyValue{}
	for _, k := range all {
		listed[string(k.Key)] = k
	}
	for key, want := range x.known {
		if is := listed[key]; (is == nil) != (want == nil) || is != nil && describe(is) != describe(want) {
			t.Errorf("object %s: %v, want %v", key, is, want)
		}
	}
}
