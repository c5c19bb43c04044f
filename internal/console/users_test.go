package console

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

func TestPermission(t *testing.T) {
	b := newBench(t)
	b.enableAuth()
	root := auth.As(context.Background(), &auth.Actor{Name: "root"})
	for _, c := range []auth.Command{
		{Kind: auth.KindV3RoleAdd, Name: "left"},
		{Kind: auth.KindV3RoleAdd, Name: "right"},
		{Kind: auth.KindV3RoleGrant, Name: "left", Permission: auth.Permission{KeyRange: kv.KeyRange{Key: []byte("a"), End: []byte("m")}, Access: auth.Read}},
		{Kind: auth.KindV3RoleGrant, Name: "right", Permission: auth.Permission{KeyRange: kv.KeyRange{Key: []byte("m"), End: []byte("z")}, Access: auth.ReadWrite}},
		{Kind: auth.KindV3UserAdd, Name: "carol", Hash: b.m.Gate().State().User("bob").Hash},
		{Kind: auth.KindV3UserGrant, Name: "carol", Role: "left"},
		{Kind: auth.KindV3UserGrant, Name: "carol", Role: "right"},
	} {
		ctx := auth.As(root, &auth.Actor{Name: "root", Revision: b.m.Gate().State().Revision})
		if _, err := b.m.ChangeAuth(ctx, &c); err != nil {
			t.Fatal(err)
		}
	}
	describe := func(v verdictJSON) string {
		by := fmt.Sprint(v.Allowed)
		if v.Root {
			by += " root"
		}
		for _, g := range v.By {
			by += fmt.Sprintf(" %s:%s", g.Role, g.Permission.Type)
		}
		return by
	}
	as := b.login("root")
	for _, c := range []struct{ user, key, end, read, write string }{
		{"root", "anything", "", "true root", "true root"},
		{"alice", "/app/x", "", "true app:READ", "false"},
		{"alice", "/app/w", "", "true app:READ", "true writer:WRITE"},
		{"alice", "/app/", "/app0", "true app:READ", "false"},
		{"alice", "/", "0", "false", "false"},
		{"bob", "/app/x", "", "false", "false"},
		{"carol", "b", "c", "true left:READ", "false"},
		{"carol", "k", "p", "true left:READ right:READWRITE", "false"},
		{"carol", "a", "\x00", "false", "false"},
	} {
		var got permissionResponse
		b.get("permission", fmt.Sprintf(`{"user":%q,"key":%s,"range_end":%s}`, c.user, quote(c.key), quote(c.end)), &got, as)
		if describe(got.Read) != c.read || describe(got.Write) != c.write || got.Read.Reason == "" || got.Write.Reason == "" {
			t.Errorf("%s, %q to %q: read %s (%s), write %s (%s); want %s and %s", c.user, c.key, c.end, describe(got.Read), got.Read.Reason, describe(got.Write), got.Write.Reason, c.read, c.write)
		}
		// It decides as the guard does.
		subject := b.m.Gate().State().Subject(&auth.Actor{Name: c.user})
		r := kv.KeyRange{Key: []byte(c.key), End: []byte(c.end)}
		if got.Read.Allowed != subject.CanRead(r) || got.Write.Allowed != subject.CanWrite(r) {
			t.Errorf("%s, %q to %q: the guard decides otherwise", c.user, c.key, c.end)
		}
	}
	var own permissionResponse
	b.get("permission", `{"user":"alice","key":"YQ=="}`, &own, b.login("alice"))
	for request, want := range map[string]int{`{"user":"bob","key":"YQ=="}`: 403, `{"user":"nobody","key":"YQ=="}`: 403} {
		if status, text := b.refused("permission", request, b.login("alice")); status != want {
			t.Errorf("%s from alice: %d %s", request, status, text)
		}
	}
	for _, request := range []string{`{"user":"nobody","key":"YQ=="}`, `{"user":"bob"}`, `{"user":"bob","key":"Yg==","range_end":"YQ=="}`} {
		if status, text := b.refused("permission", request, as); status != 400 {
			t.Errorf("%s: %d %s", request, status, text)
		}
	}
}

func (b *bench) grant(id kv.LeaseID, ttl int64, keys ...string) {
	b.t.Helper()
	b.propose(machine.KindLease, (&lease.Command{Kind: lease.KindGrant, ID: id, TTL: ttl}).Append(nil))
	for _, key := range keys {
		key, value, _ := strings.Cut(key, "=")
		b.txn(mvcc.Op{Put: &mvcc.PutOp{Key: []byte(key), Value: []byte(value), Lease: id}})
	}
}

func TestLeases(t *testing.T) {
	b := newBench(t)
	b.grant(3, 60, "/app/1", "/secret/1", "/secret/2")
	b.grant(1, 600)
	b.grant(-2, 100, "/app/2")
	type answer struct {
		Leases []leaseJSON
		Next   string
	}
	text := func(a answer) string {
		var words []string
		for _, l := range a.Leases {
			words = append(words, fmt.Sprintf("%d:%d+%d", l.ID, l.KeyCount, l.Hidden))
			if l.Left <= 0 || l.Left > l.TTL {
				t.Errorf("lease %d has %d of %d seconds left", l.ID, l.Left, l.TTL)
			}
		}
		return strings.Join(words, " ")
	}
	var all answer
	if b.get("leases", "{}", &all); text(all) != "1:0+0 3:3+0 -2:1+0" || all.Next != "" {
		t.Errorf("%s, next %q", text(all), all.Next)
	}
	var first, rest answer
	b.get("leases", `{"limit":2,"keys":1}`, &first)
	b.get("leases", `{"from":"`+first.Next+`"}`, &rest)
	if text(first) != "1:0+0 3:3+0" || len(first.Leases[1].Keys) != 1 || text(rest) != "-2:1+0" {
		t.Errorf("pages: %s, next %q, then %s", text(first), first.Next, text(rest))
	}
	b.enableAuth()
	all = answer{}
	if b.get("leases", "{}", &all, b.login("alice")); text(all) != "1:0+0 3:1+2 -2:1+0" || string(all.Leases[1].Keys[0]) != "/app/1" {
		t.Errorf("alice: %s", text(all))
	}
}

func TestLocks(t *testing.T) {
	b := newBench(t)
	b.grant(0xa, 60, "/app/lock/a", "/app/other", "/secret/lock/a")
	b.grant(0xb, 60, "/app/lock/b", "/app/leader/b=n2")
	b.grant(0xc, 60, "/app/leader/c=n1", "/app/lock/d") // the last is not of the lease c
	text := func(r locksResponse) string {
		var words []string
		for _, l := range r.Locks {
			word := fmt.Sprintf("%s %s: %d", l.Kind, l.Name, l.Holder.Lease)
			if len(l.Holder.Value) > 0 {
				word += "=" + string(l.Holder.Value)
			}
			for _, w := range l.Waiters {
				word += fmt.Sprintf(" %d", w.Lease)
			}
			words = append(words, word)
		}
		return strings.Join(words, ", ")
	}
	var got locksResponse
	if b.get("locks", "{}", &got); text(got) != "election /app/leader: 11=n2 12, lock /app/lock: 10 11, lock /secret/lock: 10" || !got.Complete {
		t.Errorf("%s, complete %v", text(got), got.Complete)
	}
	got = locksResponse{}
	if b.get("locks", `{"prefix":`+quote("/app/lo")+`}`, &got); text(got) != "lock /app/lock: 10 11" {
		t.Errorf("with a prefix: %s", text(got))
	}
	b.enableAuth()
	got = locksResponse{}
	if b.get("locks", "{}", &got, b.login("alice")); text(got) != "election /app/leader: 11=n2 12, lock /app/lock: 10 11" {
		t.Errorf("alice: %s", text(got))
	}
}

func TestSnapshot(t *testing.T) {
	b := newBench(t)
	b.set("/a", strings.Repeat("x", 10000))
	resp := b.ask("snapshot", "{}")
	file, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || len(file) < 100 || resp.Header.Get(snapshotSize) == "" || resp.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%d, %d bytes, %v", resp.StatusCode, len(file), resp.Header)
	}
	b.enableAuth()
	for user, want := range map[string]int{"alice": 403, "root": 200} {
		if resp := b.ask("snapshot", "{}", b.login(user)); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", user, resp.StatusCode, want)
		}
	}
	for range backupsMax {
		b.console.backups <- struct{}{}
	}
	if status, _ := b.refused("snapshot", "{}", b.login("root")); status != 429 {
		t.Errorf("too many at a time: %d", status)
	}
}

func TestV2(t *testing.T) {
	b := newBench(t)
	steps := []struct {
		name, request string
		status        int
		text          string
	}{
		{"v2/set", `{"key":"L2Q=","dir":true,"ttl":100,"prev_exist":false}`, 200, ""},
		{"v2/set", `{"key":"L2Q=","dir":true,"prev_exist":false}`, 400, "key already exists: /d"},
		{"v2/set", `{"key":"L2QvaA==","value":"dg==","ttl":5}`, 200, ""},
		{"v2/set", `{"key":"L2QvaA==","prev_exist":true,"refresh":true,"ttl":50}`, 200, ""},
		{"v2/set", `{"key":"L2QvaA==","value":"dw==","prev_index":99}`, 400, "compare failed: [99 != 4]"},
		{"v2/set", `{"key":"L3g=","value":"dw==","prev_exist":true}`, 404, "key not found: /x"},
		{"v2/set", `{"key":"eA==","value":"dw=="}`, 400, "the key is not a path of v2: want /NAME/NAME"},
		{"v2/set", `{"key":"L3g=","ttl":9223372036854775807}`, 400, "ttl 9223372036854775807: want at most 9223372036 seconds"},
		{"v2/delete", `{"key":"L2Q=","dir":true}`, 400, "directory not empty: /d"},
		{"v2/delete", `{"key":"L2Q="}`, 400, "not a file: /d"},
		{"v2/delete", `{"key":"Lw==","recursive":true}`, 400, "root is read only: /"},
		{"v2/delete", `{"key":"L2Q=","recursive":true}`, 200, ""},
		{"v2/delete", `{"key":"L2Q=","recursive":true}`, 404, "key not found: /d"},
	}
	for _, s := range steps {
		if s.status == 200 {
			var out v2Response
			if b.get(s.name, s.request, &out); out.Revision != b.m.Keys().Head().Revision {
				t.Errorf("%s %s: revision %d", s.name, s.request, out.Revision)
			}
			continue
		}
		if status, text := b.refused(s.name, s.request); status != s.status || text != s.text {
			t.Errorf("%s %s: %d %q; want %d %q", s.name, s.request, status, text, s.status, s.text)
		}
	}
	b.enableAuth()
	for _, c := range []struct {
		user, name, request string
		status              int
	}{
		{"alice", "v2/set", `{"key":` + quote("/app/w") + `,"value":"dg=="}`, 200},
		{"alice", "v2/set", `{"key":` + quote("/app/x") + `,"value":"dg=="}`, 403},
		{"alice", "v2/delete", `{"key":` + quote("/app/w") + `,"recursive":true}`, 403},
		{"bob", "v2/set", `{"key":` + quote("/app/w") + `,"value":"dg=="}`, 403},
		{"root", "v2/delete", `{"key":` + quote("/app/w") + `}`, 200},
	} {
		if resp := b.ask(c.name, c.request, b.login(c.user)); resp.StatusCode != c.status {
			text, err := io.ReadAll(resp.Body)
			t.Errorf("%s: %s %s: %d %s %v; want %d", c.user, c.name, c.request, resp.StatusCode, text, err, c.status)
		}
	}
	off := newBench(t, func(o *Options) { o.V2 = false })
	if status, _ := off.refused("v2/set", `{"key":"L2E="}`); status != 400 {
		t.Errorf("without --enable-v2: %d", status)
	}
}

// Values and keys of any bytes come back as they are, in JSON that no browser takes for a page.
func TestHostileValues(t *testing.T) {
	b := newBench(t)
	values := []string{"<script>alert(1)</script>", "\u202egnp.exe", "\x00\x01\xff\xfe", `"}],"next":"`, strings.Repeat("[", 1<<20), "</title>\r\nSet-Cookie: x=1", "\u2028\u2029"}
	for i, v := range values {
		key := v[:min(len(v), 40)]
		b.set("/hostile/"+strings.ReplaceAll(key, "/", "|")+fmt.Sprint(i), v)
	}
	var got answer
	b.get("search", `{"text":`+quote("/hostile/")+`,"preview":256}`, &got)
	if len(got.Items) != len(values) {
		t.Fatalf("%d items", len(got.Items))
	}
	for _, i := range got.Items {
		n := int(i.Key[len(i.Key)-1] - '0')
		if *i.Size != len(values[n]) || string(i.Preview) != values[n][:min(256, len(values[n]))] {
			t.Errorf("%q: %d bytes, preview %q", i.Key, *i.Size, i.Preview)
		}
		var h historyAnswer
		b.get("history", `{"key":`+quote(string(i.Key))+`}`, &h)
		if string(*h.Revisions[0].Value) != values[n] {
			t.Errorf("%q: value of %d bytes", i.Key, len(*h.Revisions[0].Value))
		}
	}
	resp := b.ask("search", `{"text":`+quote("script")+`,"in":"both","preview":256}`)
	text, err := io.ReadAll(resp.Body)
	if err != nil || bytes.ContainsAny(text, "<>") || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: %s, %v", resp.Header.Get("Content-Type"), text, err)
	}
	for _, request := range []string{`{"prefix":"<script>"}`, `{"<script>":1}`, `{"limit":"<script>"}`, `{`, `[]`, `{"limit":1e99}`, "\xff"} {
		resp := b.ask("tree", request)
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 400 || bytes.ContainsAny(text, "<>") {
			t.Errorf("%s: %d %s", request, resp.StatusCode, text)
		}
	}
}
