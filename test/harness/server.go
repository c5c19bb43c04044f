package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cairn/test/process"
)

// readyMax bounds the time until a started server is healthy. It is generous, so that no test fails
// on a busy machine.
const readyMax = 2 * time.Minute

// hopeless is set once a server of this test process has not become healthy within readyMax. Later
// servers would not either, and a package with many tests would exceed its time limit before it
// reported the first failure.
var hopeless atomic.Bool

// Server is one running server with its own data directory. Its addresses stay the same over
// restarts.
type Server struct {
	t      testing.TB
	client string
	peer   string
	dir    string
	// program is the path of another project's server; "" is the server under test.
	program string
	flags   []string
	secure  *http.Client // with a certificate, if the server speaks TLS; else nil
	log     *Buffer
	proc    *process.Process // nil before the first start
}

// Start starts a server over a fresh directory, with further flags, and waits until it is healthy.
func Start(t testing.TB, flags ...string) *Server { t.Helper(); return startServer(t, "", nil, flags) }

// StartOther starts a server of another project in the same way, for comparison. It does not get
// the flags of CAIRN_TEST_ETCD_FLAGS.
func StartOther(t testing.TB, program string, flags ...string) *Server {
	t.Helper()
	return startServer(t, program, nil, flags)
}

func startServer(t testing.TB, program string, secure *http.Client, flags []string) *Server {
	t.Helper()
	if hopeless.Load() {
		t.Fatal("an earlier server did not become healthy: see the test that failed first")
	}
	s := &Server{t: t, dir: t.TempDir(), program: program, secure: secure, flags: flags, log: &Buffer{}}
	t.Cleanup(s.cleanup)
	WriteProfile(t, s.dir)
	for try := 1; ; try++ {
		s.client, s.peer = "127.0.0.1:"+FreePort(t), "127.0.0.1:"+FreePort(t)
		err := s.start()
		if err == nil {
			return s
		}
		s.Kill()
		// Another process may have taken the port between FreePort and the start.
		if try == 5 || !strings.Contains(s.log.String(), "address already in use") {
			t.Fatal(err)
		}
	}
}

// Restart starts the server again over the same directory and addresses, after Kill or Stop, and
// waits until it is healthy.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

// Spawn starts the server again after Kill or Stop without waiting until it is healthy, so that a
// test can kill it while it starts.
func (s *Server) Spawn() {
	s.t.Helper()
	if err := s.spawn(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) start() error {
	if err := s.spawn(); err != nil {
		return err
	}
	return s.ready()
}

func (s *Server) spawn() error {
	args := []string{
		"--data-dir", s.DataDir(),
		"--listen-client-urls", s.URL(), "--advertise-client-urls", s.URL(),
		"--listen-peer-urls", "http://" + s.peer, "--initial-advertise-peer-urls", "http://" + s.peer,
		"--initial-cluster", "default=http://" + s.peer,
	}
	program := s.program
	if program == "" {
		program = Etcd(s.t)
		args = append(args, strings.Fields(os.Getenv("CAIRN_TEST_ETCD_FLAGS"))...)
	}
	cmd := exec.Command(program, append(args, s.flags...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, s.log, s.log
	proc, err := process.Start(cmd)
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	s.proc = proc
	return nil
}

// ready polls /health until the server is healthy, has ended, or readyMax has passed.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		if s.healthy(ctx) {
			return nil
		}
		select {
		case <-again.C:
		case <-s.proc.Exited():
			return fmt.Errorf("the server ended before it was healthy: %v", s.proc.State())
		case <-ctx.Done():
			hopeless.Store(true)
			return fmt.Errorf("the server was not healthy within %v", readyMax)
		}
	}
}

// healthy reports whether the server serves requests. A server with an alarm does, although its
// /health reports unhealthy, so alarms are excluded.
func (s *Server) healthy(ctx context.Context) bool {
	status, body, _, err := s.do(ctx, http.MethodGet, "/health?exclude=NOSPACE&exclude=CORRUPT", "")
	return err == nil && status == http.StatusOK && strings.Contains(body, `"true"`)
}

// URL returns the server's client URL, http://127.0.0.1:PORT, or https after StartSecure.
func (s *Server) URL() string {
	if s.secure != nil {
		return "https://" + s.client
	}
	return "http://" + s.client
}

// Address returns the host and port of the server's client URL.
func (s *Server) Address() string { return s.client }

// Dir returns the server's directory, in which tests may put files.
func (s *Server) Dir() string { return s.dir }

// DataDir returns the server's data directory.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// PID returns the process ID of the running server.
func (s *Server) PID() int { return s.proc.PID() }

// Log returns the server's output so far, over all its starts.
func (s *Server) Log() string { return s.log.String() }

// Kill ends the server with SIGKILL and waits until it has ended. It does nothing when none runs.
func (s *Server) Kill() { _ = s.end(syscall.SIGKILL) }

// Stop ends the server with SIGTERM, waits until it has ended, and returns its state.
func (s *Server) Stop() *os.ProcessState {
	s.t.Helper()
	if err := s.end(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	return s.proc.State()
}

// AwaitEnd waits until the server ends by itself.
func (s *Server) AwaitEnd(ctx context.Context) error {
	_, err := s.proc.Await(ctx)
	return err
}

func (s *Server) end(signal os.Signal) error {
	if s.proc == nil {
		return nil
	}
	if err := s.proc.Signal(signal); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	_, err := s.proc.Await(ctx)
	return err
}

func (s *Server) cleanup() {
	s.Kill()
	if s.t.Failed() {
		s.t.Logf("end of the log of the server on %s:\n%s", s.client, s.log.tail(8000))
	}
}

// HTTP sends a request to the server, with a form when it is not empty, and returns the response.
func (s *Server) HTTP(method, target, form string) (status int, body string, header http.Header) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	status, body, header, err := s.do(ctx, method, target, form)
	if err != nil {
		s.t.Fatal(err)
	}
	return status, body, header
}

func (s *Server) do(ctx context.Context, method, target, form string) (status int, body string, header http.Header, err error) {
	req, err := http.NewRequestWithContext(ctx, method, s.URL()+target, strings.NewReader(form))
	if err != nil {
		return 0, "", nil, err
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := http.DefaultClient
	if s.secure != nil {
		client = s.secure
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), resp.Header, err
}

// FreePort returns a loopback port on which no process listens. It is outside the range of
// ephemeral ports, so that a server which restarts finds its port free.
func FreePort(t testing.TB) string {
	t.Helper()
	address, err := process.FreeAddress("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(address, "127.0.0.1:")
}

// Buffer is a bytes.Buffer that may be read while a process writes to it.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what has been written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *Buffer) tail(n int) string {
	text := b.String()
	return text[max(0, len(text)-n):]
}
