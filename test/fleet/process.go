package fleet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cairn/test/process"
)

// endMax is the maximum time that a process takes to end after a signal, far above the usual time.
const endMax = 60 * time.Second

// patience is the timeout of a request to one member before the next member is tried.
const patience = 2 * time.Second

// Member is one member of a fleet, with its process while it runs.
type Member struct {
	Name string

	f         *Fleet
	host      int
	client    string // address of the client port
	listen    string // address of the peer port
	peer      string // advertised to other members
	dir       string
	proxy     *proxy
	bootstrap bootstrap
	id        atomic.Uint64
	http      *http.Client

	mu      sync.Mutex
	program string           // guarded by mu; "" is Config.Program
	proc    *process.Process // guarded by mu; nil before the first start and after the end
	paused  bool             // guarded by mu
}

// bootstrap has the flags --initial-cluster and --initial-cluster-state of a member.
type bootstrap struct{ cluster, state string }

// newMember makes a member with a new directory and addresses. It does not start it.
func (f *Fleet) newMember() (*Member, error) {
	f.mu.Lock()
	f.numbers++
	n := f.numbers
	f.mu.Unlock()
	m := &Member{Name: fmt.Sprintf("n%d", n), f: f, host: n}
	m.dir = filepath.Join(f.cfg.Dir, m.Name)
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, err
	}
	m.http = &http.Client{Transport: &http.Transport{DialContext: f.dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	if hosts := f.cfg.Hosts; hosts != nil {
		ip := hosts.Address(n)
		m.client, m.listen = ip+":2379", ip+":2380"
	} else {
		ip := fmt.Sprintf("%s.%d", f.net, n)
		var err error
		if m.client, err = process.FreeAddress(ip); err != nil {
			return nil, err
		}
		if m.listen, err = process.FreeAddress(ip); err != nil {
			return nil, err
		}
	}
	m.peer = m.listen
	if f.cfg.Proxied {
		p, err := newProxy(f.wire, m)
		if err != nil {
			return nil, err
		}
		m.proxy, m.peer = p, p.address()
	}
	if f.onCreate != nil {
		f.onCreate(m)
	}
	return m, nil
}

// ID returns the member's ID.
func (m *Member) ID() uint64 { return m.id.Load() }

// PeerURL returns the URL that other members know.
func (m *Member) PeerURL() string { return "http://" + m.peer }

// PeerAddress returns the address of the peer port itself, which no proxy is in front of.
func (m *Member) PeerAddress() string { return m.listen }

// ClientAddress returns the address of the client port.
func (m *Member) ClientAddress() string { return m.client }

// PID returns the ID of the member's process, 0 while none runs.
func (m *Member) PID() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running() {
		return 0
	}
	return m.proc.PID()
}

// ClientURL returns the URL for clients.
func (m *Member) ClientURL() string { return "http://" + m.client }

// DataDir returns the member's data directory.
func (m *Member) DataDir() string { return filepath.Join(m.dir, "data") }

// LogFile returns the path of the file with the member's output, over all its starts.
func (m *Member) LogFile() string { return filepath.Join(m.dir, "log") }

// Log returns the member's output, over all its starts.
func (m *Member) Log() string {
	text, err := os.ReadFile(m.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Start starts the member's process and does not wait until it serves.
func (m *Member) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc != nil {
		return fmt.Errorf("start %s: it runs", m.Name)
	}
	log, err := os.OpenFile(m.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(cmp.Or(m.program, m.f.cfg.Program), append([]string{
		"--name", m.Name, "--data-dir", m.DataDir(),
		"--listen-client-urls", m.ClientURL(), "--advertise-client-urls", m.ClientURL(),
		"--listen-peer-urls", "http://" + m.listen, "--initial-advertise-peer-urls", m.PeerURL(),
		"--initial-cluster", m.bootstrap.cluster, "--initial-cluster-state", m.bootstrap.state, "--initial-cluster-token", process.FleetToken,
	}, m.f.cfg.Flags...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = m.dir, log, log
	var proc *process.Process
	if hosts := m.f.cfg.Hosts; hosts != nil {
		proc, err = process.StartBy(cmd, func(cmd *exec.Cmd) error { return hosts.Start(m.host, cmd) })
	} else {
		proc, err = process.Start(cmd)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	m.proc, m.paused = proc, false
	return nil
}

// SetProgram sets the program of the member's later starts, in place of Config.Program.
func (m *Member) SetProgram(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.program = path
}

// Running reports whether the member's process runs; a paused one does.
func (m *Member) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running()
}

func (m *Member) running() bool { return m.proc != nil && m.proc.Running() }

// Paused reports whether the member was paused.
func (m *Member) Paused() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.paused && m.running()
}

// Kill ends the process with SIGKILL, if it runs, and waits until it has ended.
func (m *Member) Kill() error {
	_, err := m.end(syscall.SIGKILL)
	return err
}

// Stop ends the process with SIGTERM and returns its state.
func (m *Member) Stop() (*os.ProcessState, error) { return m.end(syscall.SIGTERM) }

func (m *Member) end(signal syscall.Signal) (*os.ProcessState, error) {
	if err := m.signal(signal); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), endMax)
	defer cancel()
	return m.AwaitEnd(ctx)
}

// AwaitEnd waits until the process has ended without a signal, and returns its state; nil when none
// has run.
func (m *Member) AwaitEnd(ctx context.Context) (*os.ProcessState, error) {
	m.mu.Lock()
	proc := m.proc
	m.mu.Unlock()
	if proc == nil {
		return nil, nil
	}
	state, err := proc.Await(ctx)
	if err != nil {
		return nil, fmt.Errorf("await the end of %s: %w", m.Name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.proc = nil
	return state, nil
}

// Pause stops the process until Resume. When it returns, no thread of the process runs.
func (m *Member) Pause() error { return m.pause(true, (*process.Process).Pause) }

// Resume continues a paused process.
func (m *Member) Resume() error {
	return m.pause(false, func(p *process.Process) error { return p.Signal(syscall.SIGCONT) })
}

func (m *Member) pause(paused bool, do func(*process.Process) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running() {
		return nil
	}
	if err := do(m.proc); err != nil {
		return err
	}
	m.paused = paused
	return nil
}

func (m *Member) signal(signal syscall.Signal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running() {
		return nil
	}
	return m.proc.Signal(signal)
}

// AwaitHealthy waits until the member's /health reports healthy.
func (m *Member) AwaitHealthy(ctx context.Context) error {
	return until(ctx, m.Name+" to be healthy", func() error {
		if !m.Running() {
			return errors.New("it does not run")
		}
		return m.health(ctx)
	})
}

// health returns an error unless the member's /health reports healthy.
func (m *Member) health(ctx context.Context) error {
	status, body, err := m.Get(ctx, "/health")
	if err == nil && (status != http.StatusOK || !bytes.Contains(body, []byte(`"true"`))) {
		err = fmt.Errorf("status %d: %s", status, body)
	}
	return err
}

// Get sends an HTTP GET to the member's client port.
func (m *Member) Get(ctx context.Context, path string) (status int, body []byte, err error) {
	return m.Do(ctx, http.MethodGet, path, "")
}

// Do sends a request to the member's client port, with a form if it is not empty.
func (m *Member) Do(ctx context.Context, method, path, form string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, m.ClientURL()+path, strings.NewReader(form))
	if err != nil {
		return 0, nil, err
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if user, password := m.f.Credentials(); user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return resp.StatusCode, b.Bytes(), err
}
