package console

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cairn/internal/auth"
	"cairn/internal/logging"
	"cairn/internal/machine"
	"cairn/internal/member"
	"cairn/internal/membership"
	"cairn/internal/metrics"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

// bench is a console of a real member with one voter.
type bench struct {
	t       testing.TB
	m       *member.Member
	console *Console
}

const memberID = 1

func newBench(t testing.TB, change ...func(*Options)) *bench {
	t.Helper()
	fs := storage.NewCrashableFS()
	founder := membership.Member{ID: memberID, Name: "n1", PeerURLs: []string{"http://127.0.0.1:1"}, ClientURLs: []string{"http://127.0.0.1:2"}}
	if err := member.Initialize(fs, "member", []membership.Member{founder}); err != nil {
		t.Fatal(err)
	}
	meters := metrics.New(memberID)
	m, err := member.Start(member.Config{
		Dir: "member", FS: fs, ID: memberID, ClusterID: 7, TickInterval: 10_000_000, ElectionTicks: 10, SnapshotCount: 10000, CatchUpEntries: 100,
		RequestBytesMax: 2 << 20, Auth: member.AuthConfig{BcryptCost: 4}, Logger: slog.New(slog.DiscardHandler), RaftLogger: logging.NewRaft(slog.New(slog.DiscardHandler)), Metrics: meters,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	<-m.Ready()
	meters.SetState(m.MetricsState)
	o := Options{Member: Member{Store: m, Users: m, Cluster: m, Space: m}, Metrics: meters, ClusterID: 7, V2: true}
	for _, c := range change {
		c(&o)
	}
	return &bench{t: t, m: m, console: New(o)}
}

// ask sends a request to the console, from the same machine.
func (b *bench) ask(name, body string, change ...func(*http.Request)) *http.Response {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://localhost:2379/console/api/"+name, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:4321"
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(marker, "1")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	b.console.ServeHTTP(w, r)
	return w.Result()
}

// get sends a request that must succeed, and decodes the response.
func (b *bench) get(name, body string, into any, change ...func(*http.Request)) {
	b.t.Helper()
	resp := b.ask(name, body, change...)
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s: %d %s %v", name, body, resp.StatusCode, text, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		b.t.Fatalf("%s %s: %s: %v", name, body, text, err)
	}
}

// refused sends a request that must fail, and returns the status and the text of the error.
func (b *bench) refused(name, body string, change ...func(*http.Request)) (status int, text string) {
	b.t.Helper()
	resp := b.ask(name, body, change...)
	var out struct {
		Error string
		Code  int
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		b.t.Fatalf("%s %s: %d: %v", name, body, resp.StatusCode, err)
	}
	if resp.StatusCode == http.StatusOK {
		b.t.Fatalf("%s %s: it succeeds", name, body)
	}
	return resp.StatusCode, strings.TrimPrefix(out.Error, "etcdserver: ")
}

// txn applies operations as one transaction of v3.
func (b *bench) txn(ops ...mvcc.Op) {
	b.t.Helper()
	b.propose(machine.KindTxn, machine.AppendTxn(nil, &mvcc.TxnOp{Success: ops}))
}

func (b *bench) propose(kind machine.Kind, payload []byte) *machine.Result {
	b.t.Helper()
	ctx := context.Background()
	if state := b.m.Gate().State(); state.Enabled {
		ctx = auth.As(ctx, &auth.Actor{Name: "root", Revision: state.Revision})
	}
	res, err := b.m.Propose(ctx, kind, payload)
	if err != nil {
		b.t.Fatal(err)
	}
	return res
}

// put puts keys with the value "v".
func (b *bench) put(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		b.txn(mvcc.Op{Put: &mvcc.PutOp{Key: []byte(key), Value: []byte("v")}})
	}
}

func (b *bench) v2(c v2tree.Command) { b.t.Helper(); b.propose(machine.KindV2, c.Append(nil)) }

// enableAuth enables authentication with three users, whose passwords are their names: root; alice,
// with permission to read /app/ and to write /app/w; bob, without roles.
func (b *bench) enableAuth() {
	b.t.Helper()
	for _, c := range []auth.Command{
		{Kind: auth.KindV3UserAdd, Name: "root"},
		{Kind: auth.KindV3UserAdd, Name: "alice"},
		{Kind: auth.KindV3UserAdd, Name: "bob"},
		{Kind: auth.KindV3RoleAdd, Name: "root"},
		{Kind: auth.KindV3RoleAdd, Name: "app"},
		{Kind: auth.KindV3RoleAdd, Name: "writer"},
		{Kind: auth.KindV3UserGrant, Name: "root", Role: "root"},
		{Kind: auth.KindV3UserGrant, Name: "alice", Role: "app"},
		{Kind: auth.KindV3UserGrant, Name: "alice", Role: "writer"},
		{Kind: auth.KindV3RoleGrant, Name: "app", Permission: auth.Permission{KeyRange: auth.Prefix([]byte("/app/")), Access: auth.Read}},
		{Kind: auth.KindV3RoleGrant, Name: "writer", Permission: auth.PatternPermission("/app/w", auth.Write)},
		{Kind: auth.KindEnable},
	} {
		if c.Kind == auth.KindV3UserAdd {
			hash, err := b.m.Gate().Hash(context.Background(), c.Name)
			if err != nil {
				b.t.Fatal(err)
			}
			c.Hash = hash
		}
		if _, err := b.m.ChangeAuth(context.Background(), &c); err != nil {
			b.t.Fatalf("%+v: %v", c, err)
		}
	}
}

// login returns a change of requests that adds the cookie of a session.
func (b *bench) login(user string) func(*http.Request) {
	b.t.Helper()
	resp := b.ask("login", `{"user":"`+user+`","password":"`+user+`"}`)
	if resp.StatusCode != http.StatusOK || len(resp.Cookies()) != 1 {
		b.t.Fatalf("login of %s: %d %v", user, resp.StatusCode, resp.Cookies())
	}
	cookie := resp.Cookies()[0]
	return func(r *http.Request) { r.AddCookie(cookie) }
}

func quote(s string) string {
	text, err := base64Bytes(s).MarshalJSON()
	if err != nil {
		panic(err)
	}
	return string(text)
}

// answer is a page of the tree or of a search, as a client decodes it.
type answer struct {
	Revision        int64
	CompactRevision int64 `json:"compact_revision"`
	Items           []struct {
		Kind      string
		Key, Name []byte
		Count     *int64
		Size      *int
		TTL       int64
		TTLOf     string `json:"ttl_of"`
		Lease     string
		Preview   []byte
		Mod       int64 `json:"mod_revision"`
	}
	Next    []byte
	Count   int64
	Skipped int64
}

// String returns the items as words: the key, and the count of a prefix.
func (a *answer) String() string {
	var words []string
	for _, i := range a.Items {
		word := string(i.Key)
		switch {
		case i.Count != nil:
			word += fmt.Sprintf("(%d)", *i.Count)
		case i.Size == nil:
			word += "(?)"
		}
		if i.Kind == kindDirectory {
			word += "d"
		}
		if i.TTLOf != "" {
			word += " for " + i.TTLOf
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}
