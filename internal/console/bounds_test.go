package console

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// fill puts n keys below a prefix, in transactions.
func (b *bench) fill(prefix string, n int, name func(i int) string) {
	b.t.Helper()
	const step = 1000
	for at := 0; at < n; at += step {
		var ops []mvcc.Op
		for i := at; i < min(at+step, n); i++ {
			ops = append(ops, mvcc.Op{Put: &mvcc.PutOp{Key: []byte(prefix + name(i)), Value: []byte("v")}})
		}
		b.txn(ops...)
	}
}

// The cost of a page is bounded for every store and every request.
func TestBounds(t *testing.T) {
	b := newBench(t)
	const keys = 3000
	b.fill("/flat/", keys, func(i int) string { return fmt.Sprintf("%06d", i) })
	b.fill("/deep/", keys, func(i int) string { return fmt.Sprintf("%03d/%03d", i/100, i%100) })
	past := b.m.Keys().Head().Revision
	b.fill("/gone/", keys, func(i int) string { return fmt.Sprintf("%06d", i) })
	b.txn(mvcc.Op{Delete: &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte("/gone/"), End: []byte("/gone0")}}})
	for name, c := range map[string]struct {
		request string
		items   int
	}{
		"flat":              {`{"prefix":` + quote("/flat/") + `,"limit":1000,"preview":256}`, 1000},
		"deep":              {`{"prefix":` + quote("/deep/") + `,"limit":1000}`, keys / 100},
		"the past":          {fmt.Sprintf(`{"prefix":%s,"limit":1000,"revision":%d}`, quote("/deep/"), past), keys / 100},
		"deleted keys":      {`{"prefix":` + quote("/gone/") + `}`, 0},
		"the root":          {`{"prefix":"Lw=="}`, 2},
		"another separator": {`{"separator":` + quote("0") + `,"prefix":` + quote("/flat/") + `}`, 1},
	} {
		items, pages, request := 0, 0, c.request
		for request != "" { // a slow machine ends a page early
			var got answer
			b.get("tree", request, &got)
			items, pages = items+len(got.Items), pages+1
			if len(got.Items) > pageMax {
				t.Errorf("%s: a page of %d items", name, len(got.Items))
			}
			if request = ""; items < c.items && len(got.Next) > 0 {
				request = c.request[:len(c.request)-1] + `,"from":` + quote(string(got.Next)) + "}"
			}
		}
		// The last of several pages of flat may end behind the wanted number.
		if items < c.items || items > c.items && (pages == 1 || c.items < pageMax) {
			t.Errorf("%s: %d items, want %d", name, items, c.items)
		}
	}
	for _, request := range []string{`{"limit":0}`, `{"limit":1001}`, `{"limit":-1}`, `{"preview":257}`, `{"separator":` + quote(strings.Repeat("x", 65)) + `}`, `{"prefix":"YQ==","from":"Yg=="}`, `{"prefix":"YQ==","at":"Yg=="}`, `{"from":"Yg==","at":"YQ=="}`, `{"skip":-1}`, `{"at":"YQ==","skip":1}`} {
		if status, text := b.refused("tree", request); status != 400 {
			t.Errorf("%s: %d %s", request, status, text)
		}
	}
	for name, request := range map[string]string{
		"search": `{"text":"YQ==","limit":1001}`, "history": `{"key":"YQ==","limit":201}`, "leases": `{"limit":1001}`,
		"session": `{"x":"` + strings.Repeat("x", bodyBytesMax) + `"}`, "login": strings.Repeat(" ", bodyBytesMax+1) + "{}",
	} {
		if resp := b.ask(name, request); resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	// A search looks at keys for a limited time, and continues.
	found, pages := 0, 0
	for request := `{"text":` + quote("002999") + `}`; request != ""; pages++ {
		var got answer
		began := time.Now()
		b.get("search", request, &got)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("a search takes %v", took)
		}
		found += len(got.Items)
		if request = ""; len(got.Next) > 0 {
			request = `{"text":` + quote("002999") + `,"from":` + quote(string(got.Next)) + `}`
		}
	}
	if found != 1 {
		t.Errorf("found %d keys in %d pages", found, pages)
	}
}

// Requests that read many keys wait for each other: a hostile client takes no more than scansMax
// processors, and the requests that are canceled meanwhile do nothing.
func TestScansWait(t *testing.T) {
	b := newBench(t)
	for range scansMax {
		b.console.scans <- struct{}{}
	}
	var waiting sync.WaitGroup
	statuses := make(chan int, 50)
	for range cap(statuses) {
		waiting.Go(func() { statuses <- b.ask("tree", "{}").StatusCode })
	}
	var s sessionJSON
	b.get("session", "{}", &s) // others are served
	for range scansMax {
		<-b.console.scans
	}
	waiting.Wait()
	for range cap(statuses) {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("a request that waited: %d", status)
		}
	}
}

func BenchmarkTree(b *testing.B) {
	bench := newBench(b)
	bench.fill("/flat/", 100_000, func(i int) string { return fmt.Sprintf("%06d", i) })
	bench.fill("/deep/", 100_000, func(i int) string { return fmt.Sprintf("%03d/%03d", i/100, i%100) })
	for name, fields := range map[string]string{
		"flat": `"prefix":` + quote("/flat/"), "deep": `"prefix":` + quote("/deep/"), "middle": `"skip":50000,"limit":500,"prefix":` + quote("/flat/"),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var got answer
				bench.get("tree", "{"+fields+"}", &got)
			}
		})
	}
}
