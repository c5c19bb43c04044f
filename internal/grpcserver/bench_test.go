package grpcserver_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cairn/test/grpctest"

	etcdpb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// The benchmarks compare this transport with grpc-go's under the same service, etcd's KV with a
// stub that responds at once. The server is a child process (this binary again), so that its CPU
// can be distinguished from the client's:
//
//	go test ./internal/grpcserver -run '^$' -bench . -benchtime 200000x
const benchServerEnv = "CAIRN_BENCH_SERVER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(benchServerEnv); kind != "" {
		benchServer(kind)
		return
	}
	os.Exit(m.Run())
}

type stubKV struct {
	etcdpb.UnimplementedKVServer
	// pause parks puts for a moment, as waiting for raft does; nil responds at once.
	pause chan chan struct{}
	list  []*mvccpb.KeyValue
}

func (s *stubKV) Range(_ context.Context, r *etcdpb.RangeRequest) (*etcdpb.RangeResponse, error) {
	h := &etcdpb.ResponseHeader{ClusterId: 1 << 60, MemberId: 1 << 61, Revision: 12345, RaftTerm: 2}
	if len(r.RangeEnd) > 0 {
		return &etcdpb.RangeResponse{Header: h, Kvs: s.list, Count: int64(len(s.list))}, nil
	}
	kv := &mvccpb.KeyValue{Key: r.Key, CreateRevision: 100, ModRevision: 12000, Version: 3, Value: s.list[0].Value}
	return &etcdpb.RangeResponse{Header: h, Kvs: []*mvccpb.KeyValue{kv}, Count: 1}, nil
}

func (s *stubKV) Put(_ context.Context, _ *etcdpb.PutRequest) (*etcdpb.PutResponse, error) {
	if s.pause != nil {
		w := make(chan struct{})
		s.pause <- w
		<-w
	}
	return &etcdpb.PutResponse{Header: &etcdpb.ResponseHeader{ClusterId: 1 << 60, MemberId: 1 << 61, Revision: 12345, RaftTerm: 2}}, nil
}

// commit wakes parked puts in groups, at most a group every half millisecond.
func (s *stubKV) commit() {
	var group []chan struct{}
	for w := range s.pause {
		group = append(group[:0], w)
		time.Sleep(500 * time.Microsecond)
		for more := true; more; {
			select {
			case w := <-s.pause:
				group = append(group, w)
			default:
				more = false
			}
		}
		for _, w := range group {
			close(w)
		}
	}
}

// benchServer serves until its standard input ends; for each line there it prints the CPU
// microseconds used so far.
func benchServer(kind string) {
	kind, put, _ := strings.Cut(kind, "+")
	kv := &stubKV{}
	if put != "" {
		kv.pause = make(chan chan struct{}, 4096)
		go kv.commit()
	}
	for i := range 1000 {
		kv.list = append(kv.list, &mvccpb.KeyValue{Key: fmt.Appendf(nil, "/registry/pods/%08d", i), Value: make([]byte, 256), CreateRevision: 5, ModRevision: 7, Version: 1})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	switch kind {
	case "grpc-go", "grpc-go-tuned":
		var opts []grpc.ServerOption
		if kind == "grpc-go-tuned" {
			opts = append(opts, grpc.NumStreamWorkers(64))
		}
		s := grpc.NewServer(opts...)
		etcdpb.RegisterKVServer(s, kv)
		go s.Serve(l)
	default:
		var opts grpctest.Options
		if kind == "ours-inline" {
			opts.GRPC.Inline = func(m string, _ []byte, _ bool) bool { return m == "/etcdserverpb.KV/Range" }
		}
		s := grpctest.New(opts)
		etcdpb.RegisterKVServer(s, kv)
		go s.Serve(l)
	}
	if path := os.Getenv("CAIRN_BENCH_PROFILE"); path != "" {
		f, err := os.Create(path)
		if err != nil {
			panic(err)
		}
		pprof.StartCPUProfile(f)
		defer pprof.StopCPUProfile()
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		fmt.Println(u.Utime.Nano()/1000 + u.Stime.Nano()/1000)
	}
}

type benchProcess struct {
	addr string
	cpu  func() int64
}

func startBenchServer(b *testing.B, kind string) benchProcess {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), benchServerEnv+"="+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	lines.Scan()
	return benchProcess{addr: lines.Text(), cpu: func() int64 {
		fmt.Fprintln(in)
		lines.Scan()
		n, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}}
}

// run calls op b.N times from conns connections with clients goroutines each.
func run(b *testing.B, kind string, conns, clients int, op func(context.Context, etcdpb.KVClient, int) error) {
	srv := startBenchServer(b, kind)
	kvs := make([]etcdpb.KVClient, conns)
	for i := range kvs {
		kvs[i] = etcdpb.NewKVClient(grpctest.Dial(b, srv.addr))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	call := func(n int64) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for c := range conns * clients {
			wg.Go(func() {
				for {
					i := next.Add(1)
					if i > n {
						return
					}
					if err := op(ctx, kvs[c%conns], int(i)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	call(int64(conns * clients * 5)) // connect and warm up
	before := srv.cpu()
	b.ResetTimer()
	call(int64(b.N))
	b.StopTimer()
	b.ReportMetric(float64(srv.cpu()-before)/float64(b.N), "server-µs/op")
}

func get(ctx context.Context, kv etcdpb.KVClient, i int) error {
	_, err := kv.Range(ctx, &etcdpb.RangeRequest{Key: fmt.Appendf(nil, "/registry/pods/%08d", i%1000)})
	return err
}

func getTimeout(ctx context.Context, kv etcdpb.KVClient, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return get(ctx, kv, i)
}

var benchValue = make([]byte, 256)

func put(ctx context.Context, kv etcdpb.KVClient, i int) error {
	_, err := kv.Put(ctx, &etcdpb.PutRequest{Key: fmt.Appendf(nil, "/registry/pods/%08d", i%1000), Value: benchValue})
	return err
}

func list(ctx context.Context, kv etcdpb.KVClient, _ int) error {
	_, err := kv.Range(ctx, &etcdpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	return err
}

func BenchmarkUnary(b *testing.B) {
	for _, w := range []struct {
		name           string
		conns, clients int
		op             func(context.Context, etcdpb.KVClient, int) error
		kinds          []string
	}{
		{"get/100x10", 100, 10, get, []string{"grpc-go", "grpc-go-tuned", "ours", "ours-inline"}},
		{"get-timeout/100x10", 100, 10, getTimeout, []string{"grpc-go", "ours", "ours-inline"}},
		{"get/1x1", 1, 1, get, []string{"grpc-go", "ours", "ours-inline"}},
		{"put/100x10", 100, 10, put, []string{"grpc-go", "ours"}},
		{"put-commit/100x10", 100, 10, put, []string{"grpc-go+commit", "ours+commit"}},
		{"list1000/10x2", 10, 2, list, []string{"grpc-go", "ours"}},
	} {
		for _, kind := range w.kinds {
			b.Run(w.name+"/"+kind, func(b *testing.B) { run(b, kind, w.conns, w.clients, w.op) })
		}
	}
}
