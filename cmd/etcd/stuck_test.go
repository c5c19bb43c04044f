package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"cairn/internal/storage"
)

// stuckFile names a file: while it exists, no fsync of the test's program returns.
const stuckFile = "CAIRN_TEST_STUCK"

// stuckDisk returns a disk whose fsyncs hang while a file exists.
func stuckDisk(file string) storage.FS {
	return errorfs.Wrap(storage.OSFS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			for {
				if _, err := os.Stat(file); err != nil {
					return nil
				}
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	}))
}

// supervisor is the service manager's end of sd_notify(3). Unlike notifySocket it reads all the
// time, so that the member never waits for it.
type supervisor struct {
	path           string
	ready, watched atomic.Int64 // how often READY=1 and WATCHDOG=1 came
	marks          chan struct{}
}

func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	s := &supervisor{path: filepath.Join(t.TempDir(), "notify"), marks: make(chan struct{}, 1)}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, err := c.Read(buf)
			switch {
			case err != nil:
				return // closed
			case string(buf[:n]) == "READY=1":
				s.ready.Add(1)
			case string(buf[:n]) == "WATCHDOG=1":
				s.watched.Add(1)
			case string(buf[:n]) == "MARK":
				s.marks <- struct{}{}
			}
		}
	}()
	return s
}

// notified returns how often the watchdog has been notified, after it has read all that was sent
// before.
func (s *supervisor) notified(t *testing.T) int64 {
	t.Helper()
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("MARK")); err != nil {
		t.Fatal(err)
	}
	<-s.marks
	return s.watched.Load()
}

// TestWatchdogOfStuckMember plants a fault: the disk of a running member hangs, and with it the log
// writer. The process continues, and serves /version, but the watchdog is no longer notified; so
// the service manager kills it, as this test does, and starts it again. No acknowledged write is
// lost.
func TestWatchdogOfStuckMember(t *testing.T) {
	manager := newSupervisor(t)
	dir, stuck := t.TempDir(), filepath.Join(t.TempDir(), "stuck")
	run := func() (p *etcd, url string) {
		p = start(t, dir, []string{"NOTIFY_SOCKET=" + manager.path, "WATCHDOG_USEC=100000", stuckFile + "=" + stuck},
			"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1", "--listen-peer-urls", "http://127.0.0.1:0",
			"--heartbeat-interval", "10", "--election-timeout", "100")
		return p, "http://" + p.await(`serving insecure client requests address=(\S+)`)[1]
	}
	p, url := run()
	if err := setKey(t, url, "acknowledged", time.Minute); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); manager.ready.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("READY=1 did not come")
		}
	}
	if err := os.WriteFile(stuck, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := setKey(t, url, "hangs", 100*time.Millisecond); err == nil {
		t.Error("a put was acknowledged although the disk hangs")
	}
	// On a busy machine the member may have been stuck before, for a moment.
	silent, now := int64(-1), manager.notified(t)
	for n := 0; now != silent && n < 10; n++ {
		p.await("the member is stuck: not notifying systemd's watchdog")
		silent, now = now, manager.notified(t)
	}
	if now != silent {
		t.Errorf("the watchdog of a stuck member was notified %d times", now-silent)
	}
	if resp, err := http.Get(url + "/version"); err != nil {
		t.Errorf("the process should live on: %v", err)
	} else {
		resp.Body.Close()
	}
	p.signal(syscall.SIGKILL)
	p.end()
	if err := os.Remove(stuck); err != nil {
		t.Fatal(err)
	}
	p, url = run()
	resp, err := http.Get(url + "/v2/keys/k")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	// the put that hung was not acknowledged, and may have reached the disk
	if err != nil || !regexp.MustCompile(`"value":"(acknowledged|hangs)"`).Match(body) {
		t.Errorf("after the restart: %s, %v", body, err)
	}
	p.signal(syscall.SIGTERM)
	if status, stderr := p.end(); status != 0 {
		t.Errorf("status %d\n%s", status, stderr)
	}
}

// setKey sets the key k by v2.
func setKey(t *testing.T, url, value string, timeout time.Duration) error {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, url+"/v2/keys/k?value="+value, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: timeout}).Do(req)
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}
