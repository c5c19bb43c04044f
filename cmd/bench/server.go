package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"cairn/test/process"
)

const (
	readyTimeout = 2 * time.Minute
	stopTimeout  = 2 * time.Minute
)

// program is an etcd binary to compare.
type program struct {
	path  string
	args  []string // flags beyond those that every server gets
	quota int64    // --quota-backend-bytes; 0 means 8 GiB
}

// server is a running program, as a child process, with its own directory and ports.
type server struct {
	program
	name    string
	dir     string // holds data/ and log
	client  string // host:port
	peer    string
	cluster string           // --initial-cluster; "" makes it the only member
	secret  *secret          // of the client port; nil is plain
	proc    *process.Process // nil before the first start
}

// startServer starts the program on an empty directory under parent and waits until it serves.
// With secure its client port speaks mutual TLS.
func startServer(ctx context.Context, p program, parent string, secure bool) (*server, error) {
	dir, err := os.MkdirTemp(parent, "bench-")
	if err != nil {
		return nil, fmt.Errorf("make server directory: %w", err)
	}
	s := &server{program: p, name: "default", dir: dir}
	if secure {
		if s.secret, err = newSecret(dir); err != nil {
			return nil, errors.Join(fmt.Errorf("make certificates: %w", err), os.RemoveAll(dir))
		}
	}
	for try := 0; ; try++ {
		// A first try that failed may have stored another peer address.
		if err = os.RemoveAll(s.dataDir()); err != nil {
			break
		}
		if s.client, s.peer, err = freeAddresses(); err != nil {
			break
		}
		if _, err = s.start(ctx); err == nil {
			return s, nil
		}
		// Another process may have taken the port since it was chosen.
		if try == 2 || !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	s.remove()
	return nil, err
}

// start runs the program on the server's directory and returns the time from exec to the first
// response to a linearizable get, which is when a client can continue.
func (s *server) start(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	if err := s.launch(); err != nil {
		return 0, err
	}
	if err := s.awaitReady(ctx); err != nil {
		s.kill()
		return 0, fmt.Errorf("start %s: %w%s", s.path, err, s.logTail())
	}
	return time.Since(begin), nil
}

// launch runs the program on the server's directory.
func (s *server) launch() error {
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make server log: %w", err)
	}
	defer log.Close()
	clientURL, peerURL := s.scheme()+"://"+s.client, "http://"+s.peer
	args := append([]string{
		"--name=" + s.name, "--data-dir=" + s.dataDir(),
		"--listen-client-urls=" + clientURL, "--advertise-client-urls=" + clientURL,
		"--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=" + cmp.Or(s.cluster, s.name+"="+peerURL),
		// reaching a quota would end a fill early
		fmt.Sprintf("--quota-backend-bytes=%d", cmp.Or(s.quota, int64(8<<30))),
	}, s.args...)
	if s.secret != nil {
		args = append(args, s.secret.flags...)
	}
	cmd := exec.Command(s.path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = environment()
	// A separate process group, so that Ctrl-C reaches bench alone, which then stops the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	proc, err := process.Start(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.path, err)
	}
	s.proc = proc
	return nil
}

// environment is bench's own without ETCD_…, which would configure the servers.
func environment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "ETCD_") {
			env = append(env, variable)
		}
	}
	return env
}

// awaitReady returns when a linearizable get succeeds. It retries every 2 ms while there is no
// listener (newV3Conn), and 2 ms after an error such as "no leader", so a restart time has that
// precision.
func (s *server) awaitReady(ctx context.Context) error {
	conn, err := newV3Conn(s.endpoint(), s.files())
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	go func() {
		select {
		case <-s.proc.Exited():
			cancel()
		case <-ctx.Done():
		}
	}()
	kv := pb.NewKVClient(conn)
	for {
		_, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("/")}, grpc.WaitForReady(true))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done(): // also when the process has ended, which is then the cause
			if ended := s.ended(); ended != nil {
				return fmt.Errorf("it ended before it served: %w", ended)
			}
			return fmt.Errorf("not ready: %w: %w", ctx.Err(), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (s *server) pid() int { return s.proc.PID() }

// ended returns the error of a process that has ended, or nil while it runs.
func (s *server) ended() error {
	if state := s.proc.State(); state != nil {
		return errors.New(state.String())
	}
	return nil
}

// running returns an error with the log's end when the process has ended unexpectedly.
func (s *server) running() error {
	if err := s.ended(); err != nil {
		return fmt.Errorf("%s ended during the run: %w%s", s.path, err, s.logTail())
	}
	return nil
}

// kill ends the process at once with SIGKILL, and waits until it has ended.
func (s *server) kill() {
	_ = s.proc.Signal(syscall.SIGKILL) // a process that cannot be signalled has ended
	<-s.proc.Exited()
}

// terminate sends SIGTERM and waits for the process to end.
func (s *server) terminate() error {
	if err := s.proc.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.proc.Exited():
		return nil
	case <-time.After(stopTimeout):
		s.kill()
		return fmt.Errorf("%s still ran %v after SIGTERM", s.path, stopTimeout)
	}
}

// remove kills the process if it runs and deletes its directory.
func (s *server) remove() {
	if s.proc != nil {
		s.kill()
	}
	_ = os.RemoveAll(s.dir) // the rest of a temporary directory does not affect the figures
}

func (s *server) dataDir() string { return filepath.Join(s.dir, "data") }

func (s *server) logPath() string { return filepath.Join(s.dir, "log") }

// logTail returns the last lines of the server's log, for an error message.
func (s *server) logTail() string {
	log, err := os.ReadFile(s.logPath())
	if err != nil || len(bytes.TrimSpace(log)) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return "\n    its log ends:\n    " + strings.Join(lines[max(0, len(lines)-5):], "\n    ")
}

// diskBytes returns the size of the server's data directory.
func (s *server) diskBytes() (int64, error) {
	var total int64
	err := filepath.WalkDir(s.dataDir(), func(_ string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return skipVanished(err)
		}
		info, err := entry.Info()
		if err != nil {
			return skipVanished(err)
		}
		// Count blocks instead of lengths: both kinds of server preallocate log files.
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			total += stat.Blocks * 512
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure data directory: %w", err)
	}
	return total, nil
}

// skipVanished ignores the error of a file that the server has deleted meanwhile.
func skipVanished(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// freeAddresses returns two different loopback addresses on which no process listens.
func freeAddresses() (first, second string, err error) {
	first, err = process.FreeAddress("127.0.0.1")
	if err == nil {
		second, err = process.FreeAddress("127.0.0.1")
	}
	return first, second, err
}

// version returns the first line that the program's --version prints.
func (p program) version() (string, error) {
	out, err := exec.Command(p.path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", p.path, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line), nil
}
