// Package dnstest is a DNS server for tests, with records that a test sets.
//
// Concurrency: a Server may be used by any number of goroutines.
package dnstest

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Server serves its records, on an address of the loopback interface.
type Server struct {
	Addr string

	mu      sync.Mutex
	records map[string][]dns.RR // by name
}

// New starts a server with records in the form of a zone file ("NAME IN SRV 0 0 PORT TARGET"). It
// ends with the test.
func New(t *testing.T, records ...string) *Server {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: conn.LocalAddr().String(), records: map[string][]dns.RR{}}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatalf("record %q: %v", text, err)
		}
		s.records[rr.Header().Name] = append(s.records[rr.Header().Name], rr)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(s.answer)}
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return s
}

// Resolver returns a resolver that uses this server alone.
func (s *Server) Resolver() *net.Resolver { return Resolver(s.Addr) }

// Resolver returns a resolver that uses the server at addr alone.
func Resolver(addr string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", addr)
	}}
}

func (s *Server) answer(w dns.ResponseWriter, q *dns.Msg) {
	reply := new(dns.Msg).SetReply(q)
	s.mu.Lock()
	rrs := s.records[q.Question[0].Name]
	s.mu.Unlock()
	if len(rrs) == 0 {
		reply.Rcode = dns.RcodeNameError
	}
	for _, rr := range rrs {
		if rr.Header().Rrtype == q.Question[0].Qtype {
			reply.Answer = append(reply.Answer, rr)
		}
	}
	_ = w.WriteMsg(reply) // without a response the test fails
}
