package jsonapi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"cairn/test/harness"
)

// cpuMicroseconds returns the CPU time that a process has used.
func cpuMicroseconds(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+2:])
	sum := 0.0
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.ParseFloat(string(f), 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += n
	}
	return sum * 1e4
}

// BenchmarkJSON sends requests over eight connections, and reports the server's CPU time per
// request.
//
//	go test ./test/jsonapi -run '^$' -bench JSON -benchtime 20000x
func BenchmarkJSON(b *testing.B) {
	server := harness.Start(b)
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	ask := func(path, body string) error {
		resp, err := client.Post(server.URL()+"/v3/"+path, "application/json", strings.NewReader(body))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", path, resp.Status)
		}
		return nil
	}
	put := `{"key":"` + b64("key") + `","value":"` + b64(strings.Repeat("v", 256)) + `"}`
	if err := ask("kv/put", put); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ path, body string }{{"kv/range", `{"key":"` + b64("key") + `"}`}, {"kv/put", put}} {
		b.Run(c.path, func(b *testing.B) {
			before := cpuMicroseconds(b, server.PID())
			b.SetParallelism(4)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := ask(c.path, c.body); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric((cpuMicroseconds(b, server.PID())-before)/float64(b.N), "server-µs/op")
		})
	}
}
