package http1

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"cairn/internal/budget"
)

// The heads of parked requests count in the budget: those for which there is no memory are refused,
// and what the others took is given back.
func TestParkedHeads(t *testing.T) {
	const headBytes, clients = 30_000, 40
	b := budget.New(1 << 20)
	parked := make(chan *exchange)
	s := start(t, Options{Budget: b, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		x := w.(*exchange)
		x.Park(time.Now().Add(time.Hour), func(bool) {})
		parked <- x
	})})
	refused := make(chan int, clients)
	head := "GET / HTTP/1.1\nHost: a\nX-Long: " + strings.Repeat("x", headBytes) + "\n\n"
	var waiting []*exchange
	refusals := 0
	for range clients {
		c := dial(t, s.address).say("%s", head)
		go func() {
			resp, _ := c.hear("GET")
			refused <- resp.StatusCode
		}()
		select {
		case x := <-parked:
			waiting = append(waiting, x)
		case status := <-refused:
			if refusals++; status != http.StatusTooManyRequests && status != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("status %d", status)
			}
		case <-time.After(patience):
			t.Fatal("a request was neither served nor refused")
		}
	}
	if most := int(b.Limit()) / headBytes; len(waiting) == 0 || len(waiting) > most || refusals == 0 || b.Used() > b.Limit() {
		t.Errorf("%d requests are parked, want at most %d, %d were refused, %d bytes are taken", len(waiting), most, refusals, b.Used())
	}
	for _, x := range waiting {
		x.Wake()
	}
	for range waiting {
		if status := <-refused; status != http.StatusOK {
			t.Errorf("a parked request: status %d", status)
		}
	}
	s.Close()
	soon(t, "everything to be given back", func() bool { return b.Used() == 0 })
}
