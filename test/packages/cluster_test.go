package packages

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"cairn/test/harness"
	"cairn/test/process"
)

// TestCluster runs scripts/cluster as `make cluster` does: three members with mutual TLS come up,
// the commands that it prints work, they serve every metric that contrib/ names, and Ctrl-C ends
// them all.
func TestCluster(t *testing.T) {
	programs := harnessPrograms(t)
	temporary := t.TempDir()
	port := sixPorts(t)
	cmd := exec.Command("../../scripts/cluster", programs)
	cmd.Env = append(os.Environ(), fmt.Sprint("PORT=", port), "DIR=", "TMPDIR="+temporary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that an interrupt is for the script alone
	stderr := &harness.Buffer{}
	cmd.Stderr = stderr
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.Stdout = write
	script, err := process.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	write.Close()
	defer func() {
		_ = script.Signal(syscall.SIGTERM)
		<-script.Exited()
		if t.Failed() {
			t.Logf("scripts/cluster: %s", stderr.String())
		}
	}()
	var exports []string
	lines := bufio.NewScanner(read)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C") {
		if line := strings.TrimSpace(lines.Text()); strings.HasPrefix(line, "export ") {
			exports = append(exports, line)
		}
	}
	if len(exports) != 2 {
		t.Fatalf("%d lines that set variables, want 2; %v", len(exports), lines.Err())
	}
	typed := strings.Join(exports, "\n") + "\netcdctl put k v && etcdctl member list && etcdctl endpoint certs"
	terminal := exec.Command("bash", "-euc", typed)
	terminal.Env = append(os.Environ(), harness.Patience...)
	out, err := terminal.CombinedOutput()
	if err != nil || strings.Count(string(out), ", started, n") != 3 || strings.Count(string(out), ", ok\n") != 3 {
		t.Errorf("%s: %v\n%s", typed, err, out)
	}
	variable := func(name string) string {
		found := regexp.MustCompile(name + `=(\S+)`).FindStringSubmatch(strings.Join(exports, " "))
		if found == nil {
			t.Fatalf("no %s in %q", name, exports)
		}
		return found[1]
	}
	checkMetrics(t, variable)

	if err := script.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if state, err := script.Await(ctx); err != nil || state.ExitCode() != 0 {
		t.Errorf("after Ctrl-C: %v, %v", state, err)
	}
	for i := range 6 {
		if nc, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port+i)); err == nil {
			nc.Close()
			t.Errorf("port %d is still served after Ctrl-C", port+i)
		}
	}
	if left, err := filepath.Glob(filepath.Join(temporary, "*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// sixPorts returns the first of six ports that follow each other and are free.
func sixPorts(t *testing.T) int {
	t.Helper()
	first, err := process.FreePorts("127.0.0.1", 6)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// alertFile is Prometheus' format of rules, as far as it is used.
type alertFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []struct {
			Alert       string            `json:"alert"`
			Expr        string            `json:"expr"`
			For         string            `json:"for"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

// dashboard is Grafana's format, as far as it is used.
type dashboard struct {
	Panels []struct {
		Title, Type, Description string
		Targets                  []struct{ Expr string }
	}
	Templating struct {
		List []struct {
			Name  string
			Query any
		}
	}
}

// expressions returns the expressions of the alerts and of the dashboard by where they are, after
// checks of what a rule and a panel must have.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var rules alertFile
	text, err := os.ReadFile("../../contrib/prometheus/alerts.yaml")
	if err == nil {
		err = yaml.UnmarshalStrict(text, &rules)
	}
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../../docs/guides/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all["alert "+r.Alert] = r.Expr
			if r.For == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
				t.Errorf("%s lacks a duration, a severity, a summary or an action: %+v", r.Alert, r)
			}
			if !strings.Contains(string(guide), "`"+r.Alert+"`") {
				t.Errorf("docs/guides/monitoring.md does not list %s", r.Alert)
			}
		}
	}
	var board dashboard
	if text, err = os.ReadFile("../../contrib/grafana/etcd.json"); err == nil {
		err = json.Unmarshal(text, &board)
	}
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"__rate_interval": true}
	for _, v := range board.Templating.List {
		known[v.Name] = true
		all["variable "+v.Name] = fmt.Sprint(v.Query)
	}
	for _, p := range board.Panels {
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q lacks a description or an expression", p.Title)
		}
		for i, target := range p.Targets {
			all[fmt.Sprintf("panel %q, %d", p.Title, i+1)] = target.Expr
			for _, used := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !known[used[1]] {
					t.Errorf("panel %q uses the variable %s, which the dashboard does not have", p.Title, used[1])
				}
			}
		}
	}
	if len(all) < 40 {
		t.Errorf("%d expressions, want those of the whole files", len(all))
	}
	return all
}

// checkMetrics checks that the first member of a cluster serves every metric in contrib/prometheus
// and contrib/grafana.
func checkMetrics(t *testing.T, variable func(name string) string) {
	t.Helper()
	files := clientFiles{ca: variable("ETCDCTL_CACERT"), cert: variable("ETCDCTL_CERT"), key: variable("ETCDCTL_KEY")}
	endpoint, _, _ := strings.Cut(variable("ETCDCTL_ENDPOINTS"), ",")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: files.load(t)}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var served string
	harness.Await(t, "the first round trip time between the members", func() bool {
		resp, err := client.Get(endpoint + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		served = string(text)
		return err == nil && strings.Contains(served, "\netcd_network_peer_round_trip_time_seconds_bucket{")
	})
	metric := regexp.MustCompile(`\b(etcd|grpc|process|go|cairn)_\w+`)
	noMetric := regexp.MustCompile(`"[^"]*"|\bgrpc_(method|code)\b`)
	for where, expr := range expressions(t) {
		names := metric.FindAllString(noMetric.ReplaceAllString(expr, ""), -1)
		if len(names) == 0 && !strings.Contains(expr, "up{") && !strings.HasPrefix(where, "variable") {
			t.Errorf("%s names no metric: %s", where, expr)
		}
		for _, name := range names {
			if name == "cairn_crl_next_update_timestamp_seconds" {
				continue // needs a revocation list: test/tls scrapes it
			}
			if !regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(served) {
				t.Errorf("%s: no member serves %s", where, name)
			}
		}
	}
}

// clientFiles are the paths of a client's certificate and of the authority that it trusts.
type clientFiles struct{ ca, cert, key string }

func (f clientFiles) load(t *testing.T) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: pool(t, f.ca), Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}
