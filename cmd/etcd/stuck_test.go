package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

// TestWatchdogOfStuckMember plants a fault: the disk of a running member hangs, and with it the log
// writer. The process lives on, and answers /version, but the watchdog is no longer notified; so
// the service manager kills it, as this test does, and starts it again. No acknowledged write is
// lost.
func TestWatchdogOfStuckMember(t *testing.T) {
	socket, next := notifySocket(t)
	dir, stuck := t.TempDir(), filepath.Join(t.TempDir(), "stuck")
	run := func() (p *process, url string) {
		p = start(t, dir, []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=100000", stuckFile + "=" + stuck},
			"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1", "--listen-peer-urls", "http://127.0.0.1:0",
			"--heartbeat-interval", "10", "--election-timeout", "100")
		url = p.await(`serving clients.*(http://127\.0\.0\.1:\d+)`)[1]
		for next() != "READY=1" {
		}
		return p, url
	}
	put := func(url, value string, timeout time.Duration) error {
		c := &http.Client{Timeout: timeout}
		req, err := http.NewRequest(http.MethodPut, url+"/v2/keys/k?value="+value, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	p, url := run()
	if err := put(url, "acknowledged", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stuck, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := put(url, "hangs", 100*time.Millisecond); err == nil {
		t.Error("a put was acknowledged although the disk hangs")
	}
	p.await("the member is stuck: not notifying systemd's watchdog")
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
	body := new(strings.Builder)
	if err := resp.Write(body); err != nil {
		t.Fatal(err)
	}
	// the put that hung may have reached the disk: it was not acknowledged
	if !strings.Contains(body.String(), `"value":"acknowledged"`) && !strings.Contains(body.String(), `"value":"hangs"`) {
		t.Errorf("after the restart: %s", body)
	}
	p.signal(syscall.SIGTERM)
	if status, stderr := p.end(); status != 0 {
		t.Errorf("status %d\n%s", status, stderr)
	}
}
