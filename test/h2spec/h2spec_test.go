// Package h2spec runs h2spec, a conformance test for HTTP/2 servers, against the client port's
// transport. Every case must pass.
package h2spec

import (
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cairn/test/grpctest"
	"cairn/test/harness"
)

// tool is h2spec at a pinned version, in the form for scripts/tool.
const tool = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

// report is the part of h2spec's JUnit report that the test reads.
type report struct {
	Suites []struct {
		Cases []struct {
			ID      string `xml:"package,attr"`
			Name    string `xml:"classname,attr"`
			Failure string `xml:"failure"`
			Error   string `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

func TestEveryCasePasses(t *testing.T) {
	path, err := exec.Command("../../scripts/tool", tool).Output()
	if err != nil {
		harness.CannotRun(t, "h2spec cannot be built here: %v", err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As an API's handlers do; a response before the body's end could end the stream first.
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(strings.Repeat("h2spec wants some bytes to send. ", 20)))
	})
	_, addr := grpctest.Start(t, grpctest.Options{HTTP: handler}, nil)
	host, port, _ := net.SplitHostPort(addr)
	file := filepath.Join(t.TempDir(), "report.xml")
	cmd := exec.Command(strings.TrimSpace(string(path)), "--host", host, "--port", port, "--timeout", "3", "--junit-report", file)
	out, _ := cmd.CombinedOutput() // a failed case is a failed command
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r report
	if err := xml.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	cases, failed := 0, 0
	for _, s := range r.Suites {
		for _, c := range s.Cases {
			cases++
			if c.Failure != "" || c.Error != "" {
				failed++
			}
		}
	}
	if cases < 140 || failed > 0 {
		t.Errorf("%d of %d cases fail\n%s", failed, cases, out[max(0, len(out)-6000):])
	}
}
