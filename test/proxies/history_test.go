package proxies

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/check"
)

// recorder records the requests and watches of clients as a history that package check can check.
type recorder struct {
	began time.Time

	mu      sync.Mutex // guards the fields below
	clients int
	h       check.History
}

// now returns the time on the history's clock.
func (r *recorder) now() int64 { return int64(time.Since(r.began)) }

// client returns the number of a new client.
func (r *recorder) client() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients++
	return r.clients
}

// add records a request. After an error it is unknown whether it was executed.
func (r *recorder) add(o check.Operation, err error) {
	o.Return = r.now()
	if err != nil {
		o.Return, o.Response = check.Never, check.Response{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Operations = append(r.h.Operations, o)
}

func (r *recorder) addWatch(w check.Watch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Watches = append(r.h.Watches, w)
}

// put writes a key.
func (l *load) put(ctx context.Context, client int, c *clientv3.Client, key, value string) error {
	o := l.operation(client, check.Request{Put: &check.Put{Key: key, Value: value}})
	resp, err := c.Put(ctx, key, value)
	if err == nil {
		o.Response = check.Response{Revision: resp.Header.Revision}
	}
	l.rec.add(o, err)
	return err
}

// get reads a key linearizably.
func (l *load) get(ctx context.Context, client int, c *clientv3.Client, key string) error {
	o := l.operation(client, check.Request{Range: &check.Range{Key: key}})
	resp, err := c.Get(ctx, key)
	if err == nil {
		r := &check.RangeResponse{More: resp.More, Count: resp.Count}
		for _, kv := range resp.Kvs {
			r.KVs = append(r.KVs, keyValue(kv))
		}
		o.Response = check.Response{Revision: resp.Header.Revision, Range: r}
	}
	l.rec.add(o, err)
	return err
}

func (l *load) operation(client int, r check.Request) check.Operation {
	return check.Operation{Client: client, Member: l.p.kind, Call: l.rec.now(), Request: r}
}

func keyValue(kv *mvccpb.KeyValue) check.KV {
	return check.KV{
		Key: string(kv.Key), Value: string(kv.Value),
		Create: kv.CreateRevision, Mod: kv.ModRevision, Version: kv.Version, Lease: kv.Lease,
	}
}

// v2Node is a key in a response of the v2 API.
type v2Node struct {
	Key           string
	Value         string
	CreatedIndex  int64
	ModifiedIndex int64
}

type v2Body struct {
	Action         string
	Node, PrevNode *v2Node
}

// v2 sends a request of the v2 API.
func (l *load) v2(ctx context.Context, client *http.Client, method, target string) (body v2Body, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+l.p.address+"/v2/keys"+target, http.NoBody)
	if err != nil {
		return body, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return body, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return body, err
	}
	if resp.StatusCode/100 != 2 {
		return body, fmt.Errorf("%s: %s", resp.Status, text)
	}
	if err := json.Unmarshal(text, &body); err != nil || body.Node == nil {
		return body, fmt.Errorf("response %q: %w", text, err)
	}
	return body, nil
}

// v2Put writes a key by the v2 API.
func (l *load) v2Put(ctx context.Context, client int, via *http.Client, key, value string) error {
	o := l.operation(client, check.Request{V2: &check.V2{Do: check.V2Set, Path: key, Value: value}})
	body, err := l.v2(ctx, via, http.MethodPut, key+"?value="+url.QueryEscape(value))
	if err == nil {
		r := &check.V2Response{Action: body.Action, Node: body.Node.model()}
		if body.PrevNode != nil {
			prev := body.PrevNode.model()
			r.Prev = &prev
		}
		o.Response = check.Response{Revision: body.Node.ModifiedIndex, V2: r}
	}
	l.rec.add(o, err)
	return err
}

func (n *v2Node) model() check.V2Node {
	return check.V2Node{Key: n.Key, Value: n.Value, Created: n.CreatedIndex, Modified: n.ModifiedIndex}
}

// polls is a sequence of long polls, which together are one watch of a key.
type polls struct {
	l     *load
	via   *http.Client
	watch check.Watch
	next  int64 // the index to wait for
}

func (l *load) newPolls(client int, via *http.Client, key string) *polls {
	return &polls{l: l, via: via, next: 1, watch: check.Watch{Client: client, Member: l.p.kind, Key: key, Start: 1}}
}

// once waits for the next event.
func (p *polls) once(ctx context.Context) error {
	body, err := p.l.v2(ctx, p.via, http.MethodGet, p.watch.Key+"?wait=true&waitIndex="+strconv.FormatInt(p.next, 10))
	if err != nil {
		return err
	}
	n := body.Node
	p.next = n.ModifiedIndex + 1
	// A set of v2 replaces the key, so that its version, which the response does not contain, is 1.
	p.watch.Deliveries = append(p.watch.Deliveries, check.Delivery{
		At: p.l.rec.now(), Revision: n.ModifiedIndex,
		Events: []check.Event{{KV: check.KV{Key: n.Key, Value: n.Value, Create: n.CreatedIndex, Mod: n.ModifiedIndex, Version: 1}}},
	})
	return nil
}

// follow records what a watch of all keys delivers, until it ends.
func (l *load) follow(client int, events clientv3.WatchChan) {
	w := check.Watch{Client: client, Member: l.p.kind, Key: "\x00", End: "\x00", Start: 2}
	for r := range events {
		if r.Created {
			w.Created = r.Header.Revision
			continue
		}
		d := check.Delivery{At: l.rec.now(), Revision: r.Header.Revision, Progress: r.IsProgressNotify(), Compacted: r.CompactRevision}
		for _, e := range r.Events {
			o := check.Event{Delete: e.Type == clientv3.EventTypeDelete, KV: keyValue(e.Kv)}
			if e.PrevKv != nil {
				prev := keyValue(e.PrevKv)
				o.Prev = &prev
			}
			d.Events = append(d.Events, o)
		}
		w.Deliveries = append(w.Deliveries, d)
		l.mu.Lock()
		if err := r.Err(); err != nil && l.watchErr == nil && !strings.Contains(err.Error(), context.Canceled.Error()) {
			l.watchErr = err
		}
		if n := len(d.Events); n > 0 {
			l.delivered = d.Events[n-1].KV.Mod
		}
		l.mu.Unlock()
	}
	l.rec.addWatch(w)
}
