package http1

import (
	"net/http"
	"testing"
	"time"
)

// A client that disconnected before its request was parked was noticed by watch, and must be
// noticed again by await.
func TestParkAfterGone(t *testing.T) {
	resumed := make(chan bool, 1)
	s := handle(t, func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		w.(*exchange).Park(time.Now().Add(time.Hour), func(clientGone bool) { resumed <- clientGone })
	})
	for range 20 {
		dial(t, s.address).say("GET / HTTP/1.1\nHost: a\n\n").Close()
		if clientGone := <-resumed; !clientGone {
			t.Fatal("waited for a client that has disconnected")
		}
	}
	soon(t, "all closed", func() bool { return s.open.Load() == 0 })
}

// A request that parks repeatedly learns that its connection was closed, in whichever state it was.
func TestParkOnClosedConnection(t *testing.T) {
	parked, resumed := make(chan struct{}), make(chan bool, 1)
	s := handle(t, func(w http.ResponseWriter, _ *http.Request) {
		x := w.(*exchange)
		x.Park(time.Now().Add(time.Hour), func(clientGone bool) { resumed <- clientGone })
		parked <- struct{}{}
		<-parked
	})
	dial(t, s.address).say("GET / HTTP/1.1\nHost: a\n\n")
	<-parked
	s.Close()
	close(parked)
	if clientGone := <-resumed; !clientGone {
		t.Fatal("a closed connection is not reported as gone")
	}
}
