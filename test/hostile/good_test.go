package hostile

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// goodVariable makes the test's program the good client of the address that it has.
const goodVariable = "CAIRN_HOSTILE_GOOD"

// goodClient puts and gets a small key, one request after another. It is a process of its own: in
// the attacker's it would wait for the attacker.
type goodClient struct {
	cmd    *exec.Cmd
	orders io.WriteCloser
	report *bufio.Reader
}

// latencies are those of the good client's requests.
type latencies struct {
	Took []time.Duration
	Err  string // of the request that failed, after which it sent no further ones
}

func (l *latencies) p99() time.Duration {
	if len(l.Took) == 0 {
		return 0
	}
	took := slices.Sorted(slices.Values(l.Took))
	return took[len(took)*99/100]
}

func startGoodClient(t *testing.T, address string) *goodClient {
	t.Helper()
	c := &goodClient{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), goodVariable+"="+address)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.orders, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.report = bufio.NewReader(out)
	t.Cleanup(func() {
		_ = c.orders.Close()
		_ = c.cmd.Wait()
	})
	return c
}

// start has the client send requests until stop.
func (c *goodClient) start(t *testing.T) { c.order(t, "start") }

func (c *goodClient) order(t *testing.T, order string) {
	t.Helper()
	if _, err := io.WriteString(c.orders, order+"\n"); err != nil {
		t.Fatalf("the good client has ended: %v", err)
	}
}

// stop returns how long the requests since start took, once there were n of them.
func (c *goodClient) stop(t *testing.T, n int) (l latencies) {
	t.Helper()
	c.order(t, fmt.Sprintf("stop %d", n))
	line, err := c.report.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &l)
	}
	if err != nil {
		t.Fatalf("the good client has ended: %v", err)
	}
	return l
}

// runGoodClient is the good client's process.
func runGoodClient(address string) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	kv := etcdserverpb.NewKVClient(conn)
	orders := make(chan string)
	go func() {
		defer close(orders)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			orders <- lines.Text()
		}
	}()
	for range orders { // start
		l, err := sendUntilStop(kv, orders)
		if err != nil {
			return err
		}
		text, err := json.Marshal(l)
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// sendUntilStop sends requests until it is ordered to stop, and has sent enough.
func sendUntilStop(kv etcdserverpb.KVClient, orders <-chan string) (l latencies, err error) {
	for enough := -1; enough < 0 || len(l.Took) < enough; {
		select {
		case order, ok := <-orders:
			if _, err := fmt.Sscanf(order, "stop %d", &enough); !ok || err != nil {
				return l, errors.Join(errors.New("order "+order), err)
			}
			continue
		default:
		}
		start := time.Now()
		if err := sendGood(kv, len(l.Took)); err != nil {
			l.Err = fmt.Sprintf("after %v: %v", time.Since(start), err)
			for !strings.HasPrefix(<-orders, "stop") {
				continue
			}
			return l, nil
		}
		l.Took = append(l.Took, time.Since(start))
	}
	return l, nil
}

// sendGood sends the client's i-th request.
func sendGood(kv etcdserverpb.KVClient, i int) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if i%2 == 0 {
		_, err = kv.Put(ctx, &etcdserverpb.PutRequest{Key: []byte("/good"), Value: []byte("v")})
	} else {
		_, err = kv.Range(ctx, &etcdserverpb.RangeRequest{Key: []byte("/good")})
	}
	return err
}
