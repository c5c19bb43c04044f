package durability

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

// record is the expected state of a key.
type record struct {
	value                string
	create, mod, version int64
}

// model is the expected content of the store, from the writes that were acknowledged or found.
type model struct {
	t       *testing.T
	keys    map[string]record
	head    int64
	writes  int
	revived int // unacknowledged writes that were found
	broken  []string
}

// breaks records a violation.
func (m *model) breaks(format string, args ...any) {
	m.broken = append(m.broken, fmt.Sprintf(format, args...))
}

func newModel(t *testing.T, client *clientv3.Client) *model {
	m := &model{t: t, keys: map[string]record{}}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	m.head = m.read(ctx, client, "/").Header.Revision
	return m
}

func (m *model) read(ctx context.Context, client *clientv3.Client, key string, options ...clientv3.OpOption) *clientv3.GetResponse {
	m.t.Helper()
	resp, err := client.Get(ctx, key, options...)
	if err != nil {
		m.t.Fatalf("get %s: %v", key, err)
	}
	return resp
}

// check compares the restarted store with the model and the writes of the round. It accounts for
// every revision since the last check: each is an acknowledged write, or one that was in progress,
// and none of these twice. It returns the violations, a sentence each.
func (m *model) check(client *clientv3.Client, acknowledged, unknown []write) []string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	head := m.read(ctx, client, "/").Header.Revision
	at := map[int64]write{}
	for _, w := range acknowledged {
		if other, taken := at[w.revision]; taken {
			m.breaks("revision %d was acknowledged twice: to %q of %v and to %q of %v", w.revision, w.value, w.keys, other.value, other.keys)
		}
		if w.revision <= m.head || w.revision > head {
			m.breaks("%q of %v was acknowledged at revision %d, but the store was at %d before and is at %d now",
				w.value, w.keys, w.revision, m.head, head)
		}
		at[w.revision] = w
	}
	used := make([]bool, len(unknown))
	for revision := m.head + 1; revision <= head; revision++ {
		if _, known := at[revision]; known {
			continue
		}
		i := m.find(ctx, client, revision, unknown)
		switch {
		case i < 0:
			m.breaks("revision %d is none of the writes: a gap", revision)
			continue
		case used[i]:
			m.breaks("revision %d is %q of %v once more", revision, unknown[i].value, unknown[i].keys)
		}
		used[i] = true
		at[revision] = unknown[i]
		m.revived++
	}
	m.checkHistory(ctx, client, at, head)
	m.advance(at, head)
	m.checkCurrent(ctx, client)
	return m.broken
}

// find returns which of the writes changed a key at a revision, or -1.
func (m *model) find(ctx context.Context, client *clientv3.Client, revision int64, writes []write) int {
	m.t.Helper()
	for i, w := range writes {
		for _, key := range w.keys {
			resp := m.read(ctx, client, key, clientv3.WithRev(revision))
			if len(resp.Kvs) == 1 && resp.Kvs[0].ModRevision == revision && string(resp.Kvs[0].Value) == w.value {
				return i
			}
		}
	}
	return -1
}

// readsPerTxn is the number of reads in one request; 128 operations are allowed.
const readsPerTxn = 100

// checkHistory reads each write's keys at its revision, where all of them must have its value.
func (m *model) checkHistory(ctx context.Context, client *clientv3.Client, at map[int64]write, head int64) {
	m.t.Helper()
	var ops []clientv3.Op
	var of []write
	flush := func() {
		resp, err := client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			m.t.Fatalf("read %d keys at their revisions: %v", len(ops), err)
		}
		for i, r := range resp.Responses {
			w, kvs := of[i], r.GetResponseRange().Kvs
			if len(kvs) != 1 || kvs[0].ModRevision != w.revision || string(kvs[0].Value) != w.value {
				m.breaks("at revision %d, where %v became %.40q, %s is %v", w.revision, w.keys, w.value, ops[i].KeyBytes(), kvs)
			}
		}
		ops, of = ops[:0], of[:0]
	}
	for revision := m.head + 1; revision <= head; revision++ {
		w, known := at[revision]
		if !known {
			continue // reported already
		}
		w.revision = revision
		for _, key := range w.keys {
			ops, of = append(ops, clientv3.OpGet(key, clientv3.WithRev(revision))), append(of, w)
		}
		if len(ops) >= readsPerTxn {
			flush()
		}
	}
	if len(ops) > 0 {
		flush()
	}
}

// advance applies the round's writes to the model, in the order of their revisions.
func (m *model) advance(at map[int64]write, head int64) {
	for revision := m.head + 1; revision <= head; revision++ {
		w, known := at[revision]
		if !known {
			continue
		}
		m.writes++
		for _, key := range w.keys {
			old := m.keys[key]
			if w.recreate {
				old = record{}
			}
			if old.version == 0 {
				old.create = revision
			}
			m.keys[key] = record{value: w.value, create: old.create, mod: revision, version: old.version + 1}
		}
	}
	m.head = head
}

// checkCurrent lists the whole store and compares it with the model.
func (m *model) checkCurrent(ctx context.Context, client *clientv3.Client) {
	m.t.Helper()
	seen := 0
	for from := "\x00"; ; {
		resp := m.read(ctx, client, from, clientv3.WithFromKey(), clientv3.WithLimit(5000))
		for _, kv := range resp.Kvs {
			want, known := m.keys[string(kv.Key)]
			got := record{string(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version}
			switch {
			case !known:
				m.breaks("%s exists, %+v, but no client wrote it", kv.Key, got)
			case got != want:
				m.breaks("%s is %+v, want %+v", kv.Key, got, want)
			}
		}
		seen += len(resp.Kvs)
		if !resp.More {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	if seen != len(m.keys) {
		m.breaks("the store lists %d keys, want %d", seen, len(m.keys))
	}
}

// TestModelSeesBrokenPromises passes the model writes that differ from those that the server
// applied, and expects violations.
func TestModelSeesBrokenPromises(t *testing.T) {
	server := harness.Start(t)
	client := connect(t, server.URL())
	c := &clients{v3: client}
	send := func(by dialect, value string, keys ...string) write {
		t.Helper()
		w := write{keys: keys, value: value}
		revision, err := by.send(t.Context(), c, w)
		if err != nil {
			t.Fatal(err)
		}
		w.revision = revision
		return w
	}
	for _, c := range []struct {
		name string
		lie  func() (acknowledged, unknown []write)
		want string // part of the first violation; empty for none
	}{
		{"the truth", func() (a, u []write) {
			a = append(a, send(v3Put, "1", "a"), send(v3Txn, "2", "b", "c"))
			w := send(v3Txn, "3", "a", "d")
			w.revision = 0
			return a, append(u, w, write{keys: []string{"e"}, value: "never sent"})
		}, ""},
		{"a lost write", func() (a, u []write) {
			w := send(v3Put, "1", "a")
			return append(a, w, write{keys: []string{"b"}, value: "2", revision: w.revision + 1}), nil
		}, "was acknowledged at revision"},
		{"a write of no client", func() (a, u []write) { send(v3Put, "1", "a"); return nil, nil }, "a gap"},
		{"a write that was done twice", func() (a, u []write) {
			w := send(v3Put, "1", "a")
			send(v3Put, "1", "a")
			return nil, append(u, w)
		}, "once more"},
		{"two writes at one revision", func() (a, u []write) {
			w := send(v3Txn, "1", "a", "b")
			return append(a, write{keys: []string{"a"}, value: "1", revision: w.revision}, write{keys: []string{"b"}, value: "1", revision: w.revision}), nil
		}, "acknowledged twice"},
		{"another value", func() (a, u []write) {
			w := send(v3Put, "1", "a")
			w.value = "2"
			return append(a, w), nil
		}, "a is [key"},
		{"half of an acknowledged transaction", func() (a, u []write) {
			w := send(v3Put, "1", "a")
			w.keys = append(w.keys, "missing")
			return append(a, w), nil
		}, "missing is []"},
		{"half of one under way", func() (a, u []write) {
			w := send(v3Put, "1", "a")
			return nil, append(u, write{keys: []string{"absent", "a"}, value: w.value})
		}, "absent is []"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := client.Delete(t.Context(), "\x00", clientv3.WithFromKey()); err != nil {
				t.Fatal(err)
			}
			m := newModel(t, client)
			acknowledged, unknown := c.lie()
			broken := m.check(client, acknowledged, unknown)
			if c.want == "" && len(broken) > 0 || c.want != "" && (len(broken) == 0 || !strings.Contains(broken[0], c.want)) {
				t.Errorf("violation %q, want %q first", broken, c.want)
			}
		})
	}
}
