package proxies

import (
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"cairn/test/harness"
	"cairn/test/process"
)

// TestGatewayFigures prints the gateway's CPU per request beside that of the etcd that
// CAIRN_FIGURES names, in turn, for connections that send 300 B and receive 300 B.
func TestGatewayFigures(t *testing.T) {
	other := os.Getenv("CAIRN_FIGURES")
	if other == "" {
		t.Skip("CAIRN_FIGURES names no etcd")
	}
	const requests, rounds, size = 16000, 5, 300
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { echo.Close() })
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, size); ; {
					if _, err := io.ReadFull(c, b); err != nil {
						return
					}
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	var gateways []*proxy
	for _, program := range []string{harness.Etcd(t), other} {
		p := &proxy{kind: "gateway", address: "127.0.0.1:" + harness.FreePort(t), log: new(harness.Buffer)}
		p.proc, err = process.Start(exec.Command(program, "gateway", "start", "--listen-addr", p.address, "--endpoints", echo.Addr().String()))
		must(t, err)
		t.Cleanup(p.stop)
		harness.Await(t, "the gateway listens", func() bool {
			c, err := net.Dial("tcp", p.address)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		gateways = append(gateways, p)
	}
	for _, connections := range []int{1, 16, 64} {
		var cpu [2]time.Duration
		for range rounds {
			for i, p := range gateways {
				before := p.used()
				exchange(t, p.address, connections, requests/connections, size)
				cpu[i] += (p.used() - before) / (requests * rounds)
			}
		}
		t.Logf("%d connections: CPU per request: ours %v, etcd's %v (%.2fx)", connections, cpu[0], cpu[1], float64(cpu[0])/float64(max(cpu[1], 1)))
	}
}

// exchange sends and receives over several connections at once.
func exchange(t *testing.T, address string, connections, each, size int) {
	t.Helper()
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			b := make([]byte, size)
			for range each {
				if _, err = c.Write(b); err == nil {
					_, err = io.ReadFull(c, b)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
}
