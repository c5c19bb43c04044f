package packages

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"cairn/internal/version"
	"cairn/test/harness"
	"cairn/test/pki"
	"cairn/test/process"
)

// image is what the instructions of a Containerfile make.
type image struct {
	env     []string
	workdir string
	command []string
}

// build carries out the instructions of a Containerfile that begins from scratch, as a container
// engine would, with a context and a directory for the image's files.
func build(t *testing.T, file, context, root string) (i image) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		instruction, rest, _ := strings.Cut(line, " ")
		words := strings.Fields(rest)
		switch instruction {
		case "FROM":
			if rest != "scratch" {
				t.Fatalf("FROM %s: only scratch can be built without an engine", rest)
			}
		case "COPY":
			to := words[len(words)-1]
			for _, from := range words[:len(words)-1] {
				target := filepath.Join(root, to)
				if strings.HasSuffix(to, "/") {
					target = filepath.Join(target, filepath.Base(from))
				}
				if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
					t.Fatal(err)
				}
				copyFile(t, filepath.Join(context, from), target)
			}
		case "ENV":
			i.env = append(i.env, words...)
		case "WORKDIR":
			i.workdir = rest
			if err := os.MkdirAll(filepath.Join(root, rest), 0o755); err != nil {
				t.Fatal(err)
			}
		case "CMD":
			if err := json.Unmarshal([]byte(rest), &i.command); err != nil {
				t.Fatalf("CMD %s: %v", rest, err)
			}
		case "EXPOSE", "STOPSIGNAL":
		default:
			t.Fatalf("instruction %s: unknown to this test", instruction)
		}
	}
	return i
}

// container carries out the Containerfile, and runs the image's programs with nothing but its
// files: its command with other ports, and etcdctl.
func (r *release) container(t *testing.T) {
	if os.Getuid() != 0 {
		harness.CannotRun(t, "needs root, to change the root directory")
	}
	root := t.TempDir()
	i := build(t, "../../contrib/container/Containerfile", r.stage, root)
	port := harness.FreePort(t)
	run := func(args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join("/usr/local/bin", args[0]), args[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		cmd.Dir = i.workdir
		cmd.Env = append([]string{"ETCD_LISTEN_PEER_URLS=http://127.0.0.1:" + harness.FreePort(t), "ETCDCTL_ENDPOINTS=http://127.0.0.1:" + port}, i.env...)
		return cmd
	}
	var command []string
	for _, arg := range i.command {
		command = append(command, strings.ReplaceAll(arg, "2379", port))
	}
	member := run(command...)
	proc, _ := startLogged(t, member)
	harness.Await(t, "a healthy container", func() bool {
		return run("etcdctl", "endpoint", "health").Run() == nil
	})
	if out, err := run("etcdctl", "put", "k", "v").CombinedOutput(); err != nil || string(out) != "OK\n" {
		t.Errorf("put: %v %s", err, out)
	}
	if out, err := run("etcdutl", "version").CombinedOutput(); err != nil {
		t.Errorf("etcdutl: %v %s", err, out)
	}
	if err := proc.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-proc.Exited()
	if status := proc.State().ExitCode(); status != 0 {
		t.Errorf("exit status %d after SIGTERM", status)
	}
}

// pod is a manifest of Kubernetes, as far as it is used.
type pod struct {
	Spec struct {
		Containers []struct {
			Image   string   `json:"image"`
			Command []string `json:"command"`
			Ports   []struct {
				Name          string `json:"name"`
				ContainerPort int    `json:"containerPort"`
			} `json:"ports"`
			LivenessProbe, ReadinessProbe, StartupProbe struct {
				HTTPGet struct{ Path, Port string } `json:"httpGet"`
			}
			VolumeMounts []struct {
				MountPath string `json:"mountPath"`
			} `json:"volumeMounts"`
		} `json:"containers"`
	} `json:"spec"`
}

// TestStaticPod starts a member with the flags of the static pod, with certificates as kubeadm
// makes them; only addresses and directories are the test's. The probes succeed, and a client with
// a certificate is served.
func TestStaticPod(t *testing.T) {
	var p pod
	text, err := os.ReadFile("../../contrib/kubernetes/etcd.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &p)
	}
	if err != nil || len(p.Spec.Containers) != 1 {
		t.Fatalf("%v: %+v", err, p)
	}
	c := p.Spec.Containers[0]
	if want := "localhost/cairn:" + version.Cairn; c.Image != want {
		t.Errorf("image %s, want %s, which `make image` builds", c.Image, want)
	}
	dir := t.TempDir()
	certs := filepath.Join(dir, "pki")
	if err := os.Mkdir(certs, 0o700); err != nil {
		t.Fatal(err)
	}
	ca := pki.NewAuthority(t, "etcd-ca")
	caFile := pki.Write(t, filepath.Join(certs, "ca.crt"), ca.PEM())
	hosts := []string{"cp", "localhost", "127.0.0.1", "127.0.0.2"}
	ca.Issue(t, pki.Spec{CommonName: "cp", Hosts: hosts}).Write(t, certs, "server")
	ca.Issue(t, pki.Spec{CommonName: "cp", Hosts: hosts}).Write(t, certs, "peer")
	client := ca.Issue(t, pki.Spec{CommonName: "kube-apiserver-etcd-client"}).Write(t, dir, "client")

	clientPort, peerPort, probePort := harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)
	ours := strings.NewReplacer("10.0.0.1", "127.0.0.2", "2379", clientPort, "2380", peerPort, "2381", probePort,
		"/etc/kubernetes/pki/etcd", certs, "/var/lib/etcd", filepath.Join(dir, "data"))
	var args []string
	for _, arg := range c.Command {
		args = append(args, ours.Replace(arg))
	}
	if args[0] != "etcd" {
		t.Fatalf("command %q", args)
	}
	cmd := exec.Command(harness.Etcd(t), args[1:]...)
	_, log := startLogged(t, cmd)
	for what, probe := range map[string]struct{ Path, Port string }{
		"startup": c.StartupProbe.HTTPGet, "readiness": c.ReadinessProbe.HTTPGet, "liveness": c.LivenessProbe.HTTPGet,
	} {
		if len(c.Ports) != 1 || c.Ports[0].Name != probe.Port || c.Ports[0].ContainerPort != 2381 {
			t.Fatalf("the %s probe asks the port %q; the container has %+v", what, probe.Port, c.Ports)
		}
		harness.Await(t, "the "+what+" probe to succeed", func() bool {
			resp, err := http.Get("http://127.0.0.1:" + probePort + probe.Path)
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}
	if strings.Contains(log.String(), "has no effect") {
		t.Errorf("a flag of kubeadm's has no effect:\n%s", log.String())
	}
	config := clientFiles{ca: caFile, cert: client.Cert, key: client.Key}.load(t)
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: time.Minute}
	defer h.CloseIdleConnections()
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		resp, err := h.Post(fmt.Sprintf("https://%s:%s/v3/kv/put", host, clientPort), "application/json", strings.NewReader(`{"key":"aw==","value":"dg=="}`))
		if err != nil {
			t.Error(err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("put through %s: %d %s, %v", host, resp.StatusCode, body, err)
		}
	}
}

// pool reads the certificates of authorities.
func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		t.Fatalf("%s: no certificate", file)
	}
	return p
}

// startLogged starts a process that is killed at the end of the test, and logs its output if the
// test has failed. It returns the process and its output.
func startLogged(t *testing.T, cmd *exec.Cmd) (proc *process.Process, log *harness.Buffer) {
	t.Helper()
	log = &harness.Buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := process.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = proc.Signal(syscall.SIGKILL)
		<-proc.Exited()
		if t.Failed() {
			t.Logf("%q:\n%s", cmd.Args, log.String())
		}
	})
	return proc, log
}
