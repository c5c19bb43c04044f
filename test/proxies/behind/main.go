// Command behind is an etcd whose clients come through a proxy: it takes etcd's flags, starts the
// member on another client port, and a proxy in front of it on the one that was asked for. Tests of
// clients are played through a proxy with it:
//
//	CAIRN_BEHIND=grpcproxy CAIRN_BEHIND_ETCD=$PWD/bin/etcd CAIRN_TEST_ETCD=/tmp/behind go test ./test/goclient
//
// CAIRN_BEHIND is gateway, httpproxy or grpcproxy. Both processes end with it.
//
// As etcd's, the gRPC proxy serves neither v2 nor v3 as JSON. So that tests which use several
// dialects can be played, its client port is this process's: connections of HTTP/2 go to the proxy,
// those of HTTP/1 to the member.
//
// Concurrency: one goroutine waits for each process, and each connection that is forwarded has two.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"cairn/internal/proxy/relay"
	"cairn/test/process"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "behind:", err)
		code = 1
	}
	os.Exit(code)
}

// valueOf returns the value of a flag, and where it is: flags[at] is the value, or NAME=VALUE.
func valueOf(flags []string, name string) (value string, at int) {
	for i, f := range flags {
		f = strings.TrimLeft(f, "-")
		if f == name && i+1 < len(flags) {
			return flags[i+1], i + 1
		}
		if v, ok := strings.CutPrefix(f, name+"="); ok {
			return v, i
		}
	}
	return "", -1
}

func run(flags []string) (int, error) {
	program := os.Getenv("CAIRN_BEHIND_ETCD")
	front, at := valueOf(flags, "listen-client-urls")
	if at < 0 {
		// a start that does not serve, such as --version or --help
		cmd := exec.Command(program, flags...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err := cmd.Run()
		if cmd.ProcessState == nil {
			return 1, err
		}
		return cmd.ProcessState.ExitCode(), nil
	}
	host, err := process.FreeAddress("127.0.0.1")
	if err != nil {
		return 1, err
	}
	own := append([]string{}, flags...)
	for _, name := range []string{"listen-client-urls", "advertise-client-urls"} {
		if _, at := valueOf(own, name); at >= 0 {
			own[at] = strings.Repeat("--"+name+"=", boolToInt(strings.Contains(own[at], name))) + "http://" + host
		}
	}
	member, err := start(program, own)
	if err != nil {
		return 1, err
	}
	front = strings.TrimPrefix(front, "http://")
	listen := front
	if os.Getenv("CAIRN_BEHIND") == "grpcproxy" {
		if listen, err = process.FreeAddress("127.0.0.1"); err != nil {
			return 1, err
		}
		if err := split(front, listen, host); err != nil {
			return 1, err
		}
	}
	p, err := start(program, proxyFlags(flags, listen, front, host))
	if err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	for {
		select {
		case s := <-signals:
			_ = p.Signal(s) // one that has ended is fine
			<-p.Exited()
			_ = member.Signal(s)
		case <-member.Exited():
			_ = p.Signal(syscall.SIGKILL)
			<-p.Exited()
			return member.State().ExitCode(), nil
		}
	}
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func start(program string, args []string) (*process.Process, error) {
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return process.Start(cmd)
}

// split serves an address: connections of HTTP/2 are forwarded to the proxy, others to the member.
func split(front, proxy, member string) error {
	l, err := net.Listen("tcp", front)
	if err != nil {
		return err
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go forward(client, proxy, member)
		}
	}()
	return nil
}

func forward(client net.Conn, proxy, member string) {
	defer client.Close()
	const preface = "PRI * HTTP/2.0" // RFC 9113, 3.4
	head := make([]byte, len(preface))
	n, err := io.ReadAtLeast(client, head, 3) // no method of HTTP/1 begins like this
	if err != nil {
		return
	}
	to := member
	if strings.HasPrefix(preface, string(head[:3])) {
		to = proxy
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		return // it does not serve yet: the client tries again
	}
	defer server.Close()
	if _, err := server.Write(head[:n]); err == nil {
		relay.Both(client, server)
	}
}

// proxyFlags returns the command line of a proxy that listens on one address and advertises
// another.
func proxyFlags(flags []string, listen, front, member string) []string {
	switch os.Getenv("CAIRN_BEHIND") {
	case "gateway":
		return []string{"gateway", "start", "--listen-addr", listen, "--endpoints", member, "--retry-delay", "100ms"}
	case "grpcproxy":
		return []string{"grpc-proxy", "start", "--listen-addr", listen, "--advertise-client-url", "http://" + front, "--endpoints", member}
	}
	dir, _ := valueOf(flags, "data-dir")
	peer, _ := valueOf(flags, "listen-peer-urls")
	if _, port, err := net.SplitHostPort(strings.TrimPrefix(peer, "http://")); err == nil && port == "0" {
		peer = "" // it is not known
	}
	return []string{
		"--proxy", "on", "--data-dir", filepath.Join(filepath.Dir(dir), "behind-proxy"), "--listen-client-urls", "http://" + listen,
		"--initial-cluster", "member=" + peer, "--proxy-failure-wait", "100",
	}
}
