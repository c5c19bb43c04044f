package durability

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

// write is one write that was sent: every key got the same value, which no other write has.
type write struct {
	keys     []string
	value    string
	revision int64 // 0 when it was not acknowledged
	// it creates its keys again, as v2's set does, instead of adding a version
	recreate bool
}

// dialect makes a writer's next write and sends it, and returns the revision that was acknowledged.
type dialect struct {
	name     string
	recreate bool // see write
	keys     func(writer string, n int, random *rand.Rand) []string
	send     func(ctx context.Context, c *clients, w write) (revision int64, err error)
}

// clients are the clients of one writer, one for each dialect.
type clients struct {
	v3  *clientv3.Client
	v2  *http.Client
	url string
}

var (
	v3Put = dialect{
		name: "put",
		keys: func(writer string, n int, _ *rand.Rand) []string {
			return []string{fmt.Sprintf("/put/%s/%d", writer, n)}
		},
		send: sendPut,
	}
	// v3Overwrite uses few keys for all its writers, so that they overwrite each other's.
	v3Overwrite = dialect{
		name: "overwrite",
		keys: func(_ string, _ int, random *rand.Rand) []string {
			return []string{fmt.Sprintf("/over/%d", random.IntN(7))}
		},
		send: sendPut,
	}
	v3Txn = dialect{
		name: "txn",
		keys: func(_ string, _ int, random *rand.Rand) []string {
			n := random.IntN(7)
			return []string{fmt.Sprintf("/txn/%d/left", n), fmt.Sprintf("/txn/%d/right", n)}
		},
		send: sendTxn,
	}
	v2Set = dialect{
		name:     "set",
		recreate: true,
		keys: func(writer string, n int, random *rand.Rand) []string {
			if random.IntN(2) == 0 {
				return []string{fmt.Sprintf("/over/%d", random.IntN(7))}
			}
			return []string{fmt.Sprintf("/set/%s/%d", writer, n)}
		},
		send: sendSet,
	}
)

func sendPut(ctx context.Context, c *clients, w write) (int64, error) {
	resp, err := c.v3.Put(ctx, w.keys[0], w.value)
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

func sendTxn(ctx context.Context, c *clients, w write) (int64, error) {
	resp, err := c.v3.Txn(ctx).Then(clientv3.OpPut(w.keys[0], w.value), clientv3.OpPut(w.keys[1], w.value)).Commit()
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

func sendSet(ctx context.Context, c *clients, w write) (int64, error) {
	form := url.Values{"value": {w.value}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.url+"/v2/keys"+w.keys[0], strings.NewReader(form))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.v2.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Node struct {
			ModifiedIndex int64 `json:"modifiedIndex"`
		} `json:"node"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode >= 300 || answer.Node.ModifiedIndex == 0 {
		return 0, fmt.Errorf("status %d, body %s", resp.StatusCode, body)
	}
	return answer.Node.ModifiedIndex, nil
}

// writers are the clients of one round.
type writers struct {
	t       *testing.T
	cancel  context.CancelFunc
	running sync.WaitGroup
	lists   [][]write // one per writer, which owns it until it has ended
	early   []error   // errors of writers that ended while the server was running
	dying   atomic.Bool
	close   []func() error
}

func startWriters(t *testing.T, url string, dialects []dialect, round int, random *rand.Rand) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ws := &writers{t: t, cancel: cancel, lists: make([][]write, len(dialects)), early: make([]error, len(dialects))}
	v2 := &http.Client{Transport: &http.Transport{}}
	ws.close = append(ws.close, func() error { v2.CloseIdleConnections(); return nil })
	v3 := connect(t, url)
	for i, d := range dialects {
		name := fmt.Sprintf("%02d-%d", round, i)
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		c := &clients{v3: v3, v2: v2, url: url}
		ws.running.Go(func() {
			list, err := writeUntilError(ctx, c, d, name, own)
			if !ws.dying.Load() {
				ws.early[i] = fmt.Errorf("%s to a living server: %w", d.name, err)
			}
			ws.lists[i] = list
		})
	}
	return ws
}

// writeUntilError sends one write after the other until one is not acknowledged, which is the last
// of the list.
func writeUntilError(ctx context.Context, c *clients, d dialect, name string, random *rand.Rand) ([]write, error) {
	var list []write
	for n := 0; ; n++ {
		w := write{keys: d.keys(name, n, random), recreate: d.recreate, value: fmt.Sprintf("%s %s %d %s", d.name, name, n, strings.Repeat(".", random.IntN(300)))}
		revision, err := d.send(ctx, c, w)
		w.revision = revision
		list = append(list, w)
		if err != nil {
			return list, err
		}
	}
}

// kill kills the writers' server, waits for them, and returns the acknowledged writes and those
// that were in progress.
func (ws *writers) kill(server *harness.Server) (acknowledged, unknown []write) {
	ws.t.Helper()
	ws.dying.Store(true)
	server.Kill()
	ws.cancel() // a client would wait for the server's restart, and might then send again
	ws.running.Wait()
	for _, f := range ws.close {
		if err := f(); err != nil {
			ws.t.Error(err)
		}
	}
	for i, list := range ws.lists {
		last := len(list) - 1
		acknowledged = append(acknowledged, list[:last]...)
		unknown = append(unknown, list[last])
		if err := ws.early[i]; err != nil {
			ws.t.Error(err)
		}
	}
	return acknowledged, unknown
}
