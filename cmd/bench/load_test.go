package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestMain lets the test binary play the processes that bench starts: an etcd, and bench itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if _, ok := findWorkload(os.Args[1]); ok {
			main()
			return
		}
	}
	if os.Getenv("BENCH_TEST_SERVER") != "" {
		playServer()
		return
	}
	os.Exit(m.Run())
}

func playServer() {
	if slices.Contains(os.Args, "--refuse") {
		os.Stderr.WriteString("disk is upside down\n")
		os.Exit(3)
	}
	for _, arg := range os.Args[1:] {
		address, found := strings.CutPrefix(arg, "--listen-client-urls=http://")
		if !found {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			panic(err)
		}
		server := grpc.NewServer()
		pb.RegisterKVServer(server, newStub())
		panic(server.Serve(l))
	}
}

// stub is a minimal KV service for the workloads: keys in a map, one revision counter.
type stub struct {
	pb.UnimplementedKVServer

	mu       sync.Mutex
	keys     map[string]*mvccpb.KeyValue
	revision int64

	puts, gets, txns atomic.Int64
	fail             atomic.Bool   // fail every put with an error
	hang             chan struct{} // not nil: puts wait until it is closed
}

func newStub() *stub { return &stub{keys: map[string]*mvccpb.KeyValue{}} }

func (s *stub) header() *pb.ResponseHeader { return &pb.ResponseHeader{Revision: s.revision} }

func (s *stub) put(r *pb.PutRequest) {
	s.keys[string(r.Key)] = &mvccpb.KeyValue{Key: r.Key, Value: r.Value, ModRevision: s.revision}
}

func (s *stub) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	s.puts.Add(1)
	if s.fail.Load() {
		return nil, status.Error(codes.ResourceExhausted, "etcdserver: too many requests")
	}
	if s.hang != nil {
		select {
		case <-s.hang:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	s.put(r)
	return &pb.PutResponse{Header: s.header()}, nil
}

func (s *stub) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.gets.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	response := &pb.RangeResponse{Header: s.header()}
	for name, kv := range s.keys {
		if name == string(r.Key) || (len(r.RangeEnd) > 0 && name >= string(r.Key) && name < string(r.RangeEnd)) {
			response.Count++
			if r.Limit == 0 || int64(len(response.Kvs)) < r.Limit {
				response.Kvs = append(response.Kvs, kv)
			}
		}
	}
	return response, nil
}

func (s *stub) Txn(_ context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	s.txns.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range r.Compare {
		kv := s.keys[string(c.Key)]
		if kv.GetModRevision() != c.GetModRevision() {
			get := &pb.RangeResponse{}
			if kv != nil {
				get.Kvs = []*mvccpb.KeyValue{kv}
			}
			return &pb.TxnResponse{Header: s.header(), Responses: []*pb.ResponseOp{
				{Response: &pb.ResponseOp_ResponseRange{ResponseRange: get}},
			}}, nil
		}
	}
	s.revision++
	response := &pb.TxnResponse{Header: s.header(), Succeeded: true}
	seen := map[string]bool{}
	for _, op := range r.Success {
		put := op.GetRequestPut()
		if seen[string(put.Key)] {
			return nil, status.Error(codes.InvalidArgument, "etcdserver: duplicate key given in txn request")
		}
		seen[string(put.Key)] = true
		s.put(put)
		response.Responses = append(response.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}})
	}
	return response, nil
}

// serve starts the stub on a free port and returns its address.
func serve(t *testing.T, s *stub) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterKVServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return l.Addr().String()
}

// bench runs a workload as the command line does and returns its JSON report.
func bench(t *testing.T, address, commandLine string) (*report, error) {
	t.Helper()
	args := strings.Fields(commandLine)
	args = append(args, "-endpoints", address, "-o", "json")
	var out bytes.Buffer
	err := dispatch(t.Context(), args, &out, io.Discard)
	if out.Len() == 0 {
		return nil, err
	}
	r := &report{}
	if jsonErr := json.Unmarshal(out.Bytes(), r); jsonErr != nil {
		t.Fatalf("%s: report is no JSON: %v\n%s", commandLine, jsonErr, out.String())
	}
	return r, err
}

// Every v3 workload, driven from the command line to the report over real connections.
func TestV3WorkloadsEndToEnd(t *testing.T) {
	s := newStub()
	address := serve(t, s)
	run := func(commandLine string, requests uint64) *report {
		t.Helper()
		r, err := bench(t, address, commandLine)
		if err != nil {
			t.Fatalf("%s: %v", commandLine, err)
		}
		if r.Requests != requests || r.Errors.Total != 0 || r.Latency.Requests != requests || r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.Max {
			t.Fatalf("%s: %d requests, %d errors, latency %+v, want %d requests", commandLine, r.Requests, r.Errors.Total, r.Latency, requests)
		}
		return r
	}
	run("fill -keys 300 -batch 128 -clients 4 -connections 2", 3)
	if len(s.keys) != 300 || s.txns.Load() != 3 {
		t.Fatalf("fill left %d keys after %d txns, want 300 and 3", len(s.keys), s.txns.Load())
	}
	run("fill -keys 131 -batch 10 -clients 4 -scatter -prefix /scattered/", 14)
	run("fill -keys 50 -batch 1 -prefix /single/", 50)
	if len(s.keys) != 300+131+50 || s.txns.Load() != 3+14 || s.puts.Load() != 50 {
		t.Fatalf("fills left %d keys after %d txns and %d puts, want 481, 17 and 50", len(s.keys), s.txns.Load(), s.puts.Load())
	}
	if r := run("txn-put -ops 5 -keys 7 -total 40 -clients 3 -prefix /t/", 40); r.KeysPerSecond <= r.RequestsPerSecond {
		t.Errorf("txn-put -ops 5: %v keys a second in %v requests", r.KeysPerSecond, r.RequestsPerSecond)
	}
	run("get -keys 300 -total 100 -clients 6 -connections 3", 100)
	run("get -keys 300 -total 100 -serializable", 100)
	run("range -keys 300 -total 20 -limit 50", 20)
	run("range -keys 300 -total 20 -limit 50 -start random", 20)
	r := run("mixed -keys 300 -total 200 -reads 0.5 -clients 4", 200)
	if gets, puts := r.ByKind["get"].Requests, r.ByKind["put"].Requests; gets < 50 || puts < 50 || gets+puts != 200 {
		t.Errorf("mixed by half: %d gets and %d puts", gets, puts)
	}
	before := s.puts.Load()
	run("put -keys 1000 -order sequential -total 1000 -clients 8 -prefix /p/", 1000)
	if got := s.puts.Load() - before; got != 1000 {
		t.Errorf("put -total 1000 sent %d puts", got)
	}
	// Each key is refused once, because its revision is not known yet, and accepted from then on.
	r = run("txn -keys 1000 -prefix /p/ -order sequential -total 2000 -clients 1", 2000)
	if r.ByKind["refused"].Requests != 1000 || r.ByKind["put"].Requests != 1000 {
		t.Errorf("txn: %d refused, %d put, want 1000 each", r.ByKind["refused"].Requests, r.ByKind["put"].Requests)
	}
}

func TestWrongResultsAreErrors(t *testing.T) {
	s := newStub()
	address := serve(t, s)
	if _, err := bench(t, address, "fill -keys 100"); err != nil {
		t.Fatal(err)
	}
	for commandLine, want := range map[string]string{
		"get -keys 100 -total 5 -prefix /other/": "key missing",
		"range -keys 101 -total 5":               "range counted 100, want 101",
	} {
		r, err := bench(t, address, commandLine)
		if !errors.Is(err, errMeasuredErrors) || r.Requests != 0 || r.Errors.Total != 5 || !strings.Contains(r.Errors.Texts[0].Text, want) {
			t.Errorf("%s: report %+v, error %v, want 5 errors with %q", commandLine, r, err, want)
		}
	}
}

func TestServerErrorsAreCountedByText(t *testing.T) {
	s := newStub()
	s.fail.Store(true)
	r, err := bench(t, serve(t, s), "put -total 10 -clients 5")
	if !errors.Is(err, errMeasuredErrors) || r.Errors.Total != 10 || len(r.Errors.Texts) != 1 ||
		!strings.Contains(r.Errors.Texts[0].Text, "too many requests") {
		t.Errorf("report %+v, error %v", r, err)
	}
}

func TestHangingServerEndsTheRun(t *testing.T) {
	s := newStub()
	s.hang = make(chan struct{})
	defer close(s.hang)
	r, err := bench(t, serve(t, s), "put -duration 1s -clients 3 -patience 200ms")
	if !errors.Is(err, errMeasuredErrors) || r.Errors.Total != 3 || r.Errors.Texts[0].Text != errPatience.Error() {
		t.Errorf("report %+v, error %v, want the 3 requests in flight to fail", r, err)
	}
}

func TestRateSpacesRequests(t *testing.T) {
	s := newStub()
	r, err := bench(t, serve(t, s), "put -rate 200 -total 41 -clients 4 -duration 30s")
	if err != nil {
		t.Fatal(err)
	}
	// The 41st is due 40/200 s after the first; how much later it ends depends on the machine.
	if r.Requests != 41 || r.Seconds < 0.2 {
		t.Errorf("%d requests in %v s, want 41 in 0.2 s or more", r.Requests, r.Seconds)
	}
}

func TestInterruptedRunIsReported(t *testing.T) {
	s := newStub()
	address := serve(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for s.puts.Load() < 50 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	var out bytes.Buffer
	if err := dispatch(ctx, []string{"put", "-duration", "1h", "-clients", "4", "-endpoints", address}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), ", 0 errors\n") {
		t.Errorf("an interrupted run reports\n%s", out.String())
	}
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if _, err := bench(t, address, "put -total 1"); err == nil || !strings.Contains(err.Error(), "is an etcd serving there?") {
		t.Errorf("error %v, want a hint", err)
	}
}

func TestV2WorkloadsEndToEnd(t *testing.T) {
	var mu sync.Mutex
	keys := map[string]string{}
	connections := map[string]bool{}
	// The first requests wait until all three clients have sent one: otherwise a machine that runs
	// one client to the end before it starts the next would use fewer connections than configured.
	all := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		connections[r.RemoteAddr] = true
		if len(connections) == 3 {
			select {
			case <-all:
			default:
				close(all)
			}
		}
		mu.Unlock()
		select {
		case <-all:
		case <-r.Context().Done():
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPut {
			keys[r.URL.Path] = r.FormValue("value")
			w.WriteHeader(http.StatusCreated)
		} else if _, ok := keys[r.URL.Path]; !ok {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"errorCode":100,"message":"Key not found","cause":"`+r.URL.Path+`","index":7}`)
			return
		}
		io.WriteString(w, `{"action":"get"}`)
	}))
	defer server.Close()
	if _, err := bench(t, server.URL, "v2-set -keys 50 -order sequential -total 50 -connections 3 -clients 3"); err != nil {
		t.Fatal(err)
	}
	if len(keys) != 50 || len(connections) != 3 {
		t.Errorf("%d keys set over %d connections, want 50 over 3", len(keys), len(connections))
	}
	for path, value := range keys {
		if !strings.HasPrefix(path, "/v2/keys/bench/0") || len(value) != 256 {
			t.Errorf("%s has %d bytes", path, len(value))
		}
	}
	if r, err := bench(t, server.URL, "v2-get -keys 50 -total 100 -clients 2"); err != nil || r.Requests != 100 {
		t.Errorf("report %+v, error %v", r, err)
	}
	r, err := bench(t, server.URL, "v2-get -keys 50 -total 4 -prefix /none/")
	if !errors.Is(err, errMeasuredErrors) || len(r.Errors.Texts) != 1 || r.Errors.Texts[0].Text != errKeyMissing.Error() {
		t.Errorf("missing keys: report %+v, error %v", r, err)
	}
}

// A comparison's run starts a process, drives it and leaves no files.
func TestRunOnce(t *testing.T) {
	t.Setenv("BENCH_TEST_SERVER", "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := comparison{dir: t.TempDir(), short: true, duration: 100 * time.Millisecond}
	for _, sc := range scenarios {
		if sc.name != "put-1" {
			continue
		}
		got, err := c.runOnce(t.Context(), sc, program{path: self}, newProgress(io.Discard, ""))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []metric{throughput, p50, p99, memory} {
			if got[m.name] <= 0 {
				t.Errorf("%s is %v", m.name, got[m.name])
			}
		}
		_, err = c.runOnce(t.Context(), sc, program{path: self, args: []string{"--refuse"}}, newProgress(io.Discard, ""))
		if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "disk is upside down") {
			t.Errorf("a server that does not start: error %v, want its exit status and log", err)
		}
	}
	if left, err := os.ReadDir(c.dir); err != nil || len(left) != 0 {
		t.Errorf("left behind in the directory: %v, %v", left, err)
	}
}
