package tutorial

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/test/harness"
)

// waitMax is the maximum duration of anything, far above the usual one.
const waitMax = time.Minute

// TestService installs the programs as the tutorial does, and starts the service as systemd would:
// with the variables of the unit's file, and waiting for READY=1, since the unit has Type=notify.
func TestService(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " uses v3 by default")
	}
	s := harness.Start(t) // only for its directory; the service has other addresses
	root := filepath.Join(s.Dir(), "root")
	pack(t, s.Dir())
	s.Transcript(t, "testdata/install.txt", harness.Etcdctl(t), 0, "ROOT="+root)

	unit := readLines(t, filepath.Join(root, "etc/systemd/system/etcd.service"))
	program := unit["ExecStart"]
	variables := readLines(t, strings.TrimPrefix(unit["EnvironmentFile"], "-"))
	if program == "" || unit["Type"] != "notify" || variables["ETCD_NAME"] == "" {
		t.Fatalf("unit %v, variables %v", unit, variables)
	}
	socket := &net.UnixAddr{Name: filepath.Join(s.Dir(), "notify"), Net: "unixgram"}
	ready, err := net.ListenUnixgram("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	client, peer := "http://127.0.0.1:"+harness.FreePort(t), "http://127.0.0.1:"+harness.FreePort(t)
	env := []string{
		"NOTIFY_SOCKET=" + socket.Name,
		// The tutorial uses the default addresses, which may be in use on this machine.
		"ETCD_LISTEN_CLIENT_URLS=" + client, "ETCD_ADVERTISE_CLIENT_URLS=" + client,
		"ETCD_LISTEN_PEER_URLS=" + peer, "ETCD_INITIAL_ADVERTISE_PEER_URLS=" + peer, "ETCD_INITIAL_CLUSTER=" + variables["ETCD_NAME"] + "=" + peer,
	}
	for name, v := range variables {
		env = append(env, name+"="+v)
	}
	service := s.Begin(t, harness.Command{Args: []string{program}, Env: env}, nil)
	if err := ready.SetReadDeadline(time.Now().Add(waitMax)); err != nil {
		t.Fatal(err)
	}
	received := make([]byte, 4096)
	n, err := ready.Read(received)
	if err != nil || !strings.Contains(string(received[:n]), "READY=1") {
		t.Fatalf("the service manager received %q, %v", received[:n], err)
	}
	got := s.Run(t, harness.Command{Args: []string{filepath.Join(root, "opt/etcd/etcdctl"), "member", "list"}, Env: []string{"ETCDCTL_ENDPOINTS=" + client}})
	if want := "name=" + variables["ETCD_NAME"] + " peerURLs=" + peer + " clientURLs=" + client + " isLeader=true\n"; got.Exit != 0 || !strings.HasSuffix(got.Stdout, want) {
		t.Errorf("member list: %+v, want %s", got, want)
	}
	if _, err := os.Stat(filepath.Join(root, "var/lib/etcd/member")); err != nil {
		t.Error(err)
	}
	service.Signal(syscall.SIGTERM)
	select {
	case <-service.Exited():
	case <-time.After(waitMax):
		t.Error("the service does not stop")
	}
}

// pack makes the archive that the tutorial downloads.
func pack(t *testing.T, dir string) {
	t.Helper()
	in := filepath.Join(dir, "etcd-v3.1.5-linux-amd64")
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"etcd": harness.Etcd(t), "etcdctl": harness.Etcdctl(t), "README.md": "../../README.md"} {
		if out, err := exec.Command("cp", path, filepath.Join(in, name)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	cmd := exec.Command("tar", "czf", "etcd-v3.1.5-linux-amd64.tar.gz", "etcd-v3.1.5-linux-amd64")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.RemoveAll(in); err != nil {
		t.Fatal(err)
	}
}

// readLines returns the NAME=VALUE lines of a unit or of a file of variables.
func readLines(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			lines[name] = v
		}
	}
	return lines
}
