package hostile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/test/harness"
	"cairn/test/process"
)

// startMax is how long a member may take to serve or to end, on a busy machine.
const startMax = 30 * time.Second

// ended waits until a process ends by itself, and fails the test when it does not.
func ended(t *testing.T, p *process.Process, log *harness.Buffer) *os.ProcessState {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	defer cancel()
	state, err := p.Await(ctx)
	if err != nil {
		_ = p.Signal(syscall.SIGKILL)
		t.Fatalf("%v; its log:\n%s", err, log.String())
	}
	return state
}

// TestFullDiskAtStart: on a disk that is too small a member serves, or ends with one line that says
// why. It does one of the two within a limited time.
func TestFullDiskAtStart(t *testing.T) {
	if harness.Reference(t) != "" {
		t.Skip("of our own disk")
	}
	etcdctl := harness.Etcdctl(t) // building it may take longer than startMax
	for kib := 16; kib <= size(64<<10, 256<<10); kib *= size(8, 2) {
		t.Run(fmt.Sprintf("%d KiB", kib), func(t *testing.T) {
			dir := t.TempDir()
			address := "http://127.0.0.1:" + harness.FreePort(t)
			peer := "http://127.0.0.1:" + harness.FreePort(t)
			// A mount in a namespace of the process: it needs no root where users may make
			// namespaces.
			script := `mount -t tmpfs -o size=` + fmt.Sprint(kib) + `k none "$1" || exit 77; shift; exec "$@"`
			cmd := exec.Command("/bin/sh", "-c", script, "sh", dir, harness.Etcd(t), "--data-dir", filepath.Join(dir, "data"),
				"--listen-client-urls", address, "--advertise-client-urls", address, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
				"--initial-cluster", "default="+peer)
			log := &harness.Buffer{}
			cmd.Stdout, cmd.Stderr = log, log
			// the mount stays in it
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			if os.Getuid() != 0 {
				cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			}
			p, err := process.Start(cmd)
			if errors.Is(err, syscall.EPERM) {
				harness.CannotRun(t, "no mount namespace is permitted here: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Signal(syscall.SIGKILL) }()
			serving := func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				out, err := exec.CommandContext(ctx, etcdctl, "--endpoints", address, "endpoint", "health").CombinedOutput()
				return err == nil && bytes.Contains(out, []byte("is healthy"))
			}
			for deadline := time.Now().Add(startMax); p.Running() && !serving(); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					_ = p.Signal(syscall.SIGKILL)
					t.Fatalf("it neither serves nor ends; its log:\n%s", log.String())
				}
			}
			if p.Running() { // enough room
				_ = p.Signal(syscall.SIGTERM)
				if state := ended(t, p, log); !state.Success() && !strings.Contains(log.String(), "no space left on device") {
					t.Errorf("it ended with %v after SIGTERM:\n%s", state, log.String())
				}
				return
			}
			state := p.State()
			if state.ExitCode() == 77 {
				harness.CannotRun(t, "no tmpfs can be mounted here: %s", log.String())
			}
			lines := strings.Split(strings.TrimSpace(log.String()), "\n")
			if last := lines[len(lines)-1]; state.ExitCode() != 1 || !strings.HasPrefix(last, "etcd: ") || !strings.Contains(last, "no space left on device") {
				t.Errorf("it ended with %v:\n%s", state, log.String())
			}
			if n := strings.Count(log.String(), "no space left on device"); n > 3 {
				t.Errorf("%d lines of its log say that the disk is full:\n%s", n, log.String())
			}
			if cpu := state.UserTime() + state.SystemTime(); cpu > 5*time.Second {
				t.Errorf("it took %v of the processors", cpu)
			}
		})
	}
}

// TestDataDirectoryGone: a member whose data directory is removed, renamed or replaced while it
// runs ends, and acknowledges nothing that the next start does not find.
func TestDataDirectoryGone(t *testing.T) {
	if harness.Reference(t) != "" {
		t.Skip("etcd goes on, and loses what it acknowledges")
	}
	for name, do := range map[string]func(dir string) error{
		"removed":       os.RemoveAll,
		"renamed":       func(dir string) error { return os.Rename(dir, dir+".away") },
		"replaced":      func(dir string) error { return errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o700)) },
		"emptied":       func(dir string) error { return os.RemoveAll(filepath.Join(dir, "member")) },
		"log removed":   func(dir string) error { return os.RemoveAll(filepath.Join(dir, "member", "log")) },
		"log renamed":   func(dir string) error { return os.Rename(filepath.Join(dir, "member", "log"), dir+".log") },
		"state renamed": func(dir string) error { return os.Rename(filepath.Join(dir, "member", "state"), dir+".state") },
		"parent renamed": func(dir string) error {
			return os.Rename(filepath.Dir(dir), filepath.Dir(dir)+".away")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t)
			s.HTTP("PUT", "/v2/keys/a", "value=1")
			if err := do(s.DataDir()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), startMax)
			defer cancel()
			if err := s.AwaitEnd(ctx); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(s.Log(), "data directory") {
				t.Errorf("its log does not say why:\n%s", s.Log())
			}
		})
	}
}

// TestKilledInFirstStart: whenever the first start of a member is cut off, the second one serves.
// What a power cut leaves of unsynced files is internal/member's TestPowerCutInFirstStart.
func TestKilledInFirstStart(t *testing.T) {
	s := harness.Start(t)
	s.Kill()
	rng := rand.New(rand.NewPCG(1, 2))
	for range size(4, 300) {
		if err := os.RemoveAll(s.DataDir()); err != nil {
			t.Fatal(err)
		}
		for range 1 + rng.IntN(3) {
			s.Spawn()
			// that is the moment of the cut
			time.Sleep(time.Duration(rng.IntN(120)) * time.Millisecond)
			s.Kill()
		}
		s.Restart()
		s.HTTP("PUT", "/v2/keys/a", "value=1")
		s.Kill()
	}
}

// TestCraftedTail: clients write values that look like the journal's own records, and the power
// fails while the last of them is written. The member starts, with everything acknowledged before.
func TestCraftedTail(t *testing.T) {
	if harness.Reference(t) != "" {
		t.Skip("of our own journal")
	}
	s := harness.Start(t)
	rng := rand.New(rand.NewPCG(3, 4))
	put := func(key string, value []byte) { s.HTTP("PUT", "/v2/keys/"+key, "value="+string(escape(value))) }
	for round := range size(4, 200) {
		put("kept", fmt.Append(nil, round))
		path, end := journal(t, s)
		end += 64 // zeros may be the last record's own end
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The file's head, its last records, and the whole tail once more, at each alignment.
		from := max(0, end-3000)
		put("crafted", append(append(make([]byte, rng.IntN(8)), text[:32]...), text[from:end]...))
		s.Kill()
		path, now := journal(t, s)
		if now <= end {
			t.Fatalf("%s ends at %d, and ended at %d before the last write", path, now, end)
		}
		if err := cut(path, end+rng.IntN(now-end), rng); err != nil {
			t.Fatal(err)
		}
		s.Restart()
		if _, body, _ := s.HTTP("GET", "/v2/keys/kept", ""); !strings.Contains(body, fmt.Sprintf(`"value":"%d"`, round)) {
			t.Fatalf("round %d: %s", round, body)
		}
	}
}

// escape writes bytes as a form's value.
func escape(b []byte) (out []byte) {
	for _, c := range b {
		out = fmt.Appendf(out, "%%%02x", c)
	}
	return out
}

// journal returns the newest file of a server's log, and the end of what is written in it.
func journal(t *testing.T, s *harness.Server) (path string, end int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.DataDir(), "member", "log", "*.journal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no journal in %s: %v", s.DataDir(), err)
	}
	path = files[len(files)-1]
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, len(bytes.TrimRight(text, "\x00"))
}

// cut does to a file from an offset on what a power cut may: the rest is missing, zero, or garbage.
func cut(path string, at int, rng *rand.Rand) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rest := text[at:]
	switch rng.IntN(3) {
	case 0:
		return os.Truncate(path, int64(at))
	case 1:
		clear(rest)
	default:
		for i := range rest[:min(len(rest), 4000)] {
			rest[i] ^= byte(rng.Uint32())
		}
	}
	return os.WriteFile(path, text, 0o600)
}
