package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// dialed returns connections to the member, and the function that closes them. A member that
// refuses some of them has defended itself.
func (x *target) dialed(conns int) (all []net.Conn, end func()) {
	start := time.Now()
	for i := range conns {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / openRate))) // that is the attack
		if nc, err := net.Dial("tcp", x.server.Address()); err == nil {
			_ = nc.SetDeadline(time.Now().Add(10 * time.Minute))
			all = append(all, nc)
		}
	}
	return all, func() {
		for _, nc := range all {
			_ = nc.Close()
		}
	}
}

// formPut returns a request of v2 with a form.
func formPut(path, form string) string {
	return fmt.Sprintf("PUT /v2/keys%s HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		path, len(form), form)
}

// deepPaths sets keys below thousands of directories, each of which has a key as long as its path,
// and removes them recursively. It returns when the member has answered.
func (x *target) deepPaths(t *testing.T) (end func()) {
	all, end := x.dialed(size(4, 20))
	var wg sync.WaitGroup
	for i, nc := range all {
		wg.Go(func() {
			responses := bufio.NewReader(nc)
			for n := range size(3, 100) {
				deep := fmt.Sprintf("/deep%d%s", i, strings.Repeat("/d", []int{1_000, 30_000}[n%2]))
				remove := fmt.Sprintf("DELETE /v2/keys/deep%d?recursive=true HTTP/1.1\r\nHost: a\r\n\r\n", i)
				for _, request := range []string{formPut(deep, "value=v"), remove} {
					_, err := io.WriteString(nc, request)
					if err == nil {
						err = skipResponse(responses)
					}
					if err != nil {
						t.Logf("a deep path on connection %d: %v", i, err) // the member has closed it
						return
					}
				}
			}
		})
	}
	wg.Wait()
	return end
}

// skipResponse reads one response.
func skipResponse(r *bufio.Reader) error {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// fewBytes announces bodies of 1 MB on many connections, and sends 6 bytes of each.
func (x *target) fewBytes(*testing.T) (end func()) {
	all, end := x.dialed(size(200, 5_000))
	for i, nc := range all {
		path := []string{"/v3/kv/put", "/v2/keys/few"}[i%2]
		_, _ = fmt.Fprintf(nc, "PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nvalue=", path)
	}
	return end
}

// badInput sends bodies of 1 MB that are errors, which an error's text could quote, and reads no
// response.
func (x *target) badInput(*testing.T) (end func()) {
	const length = 1_000_000
	all, closeConns := x.dialed(size(20, 500))
	bad := strings.Repeat("x", length-2)
	var wg sync.WaitGroup
	for i, nc := range all {
		text := fmt.Sprintf("POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", length, []string{`{"` + bad, `"` + bad + `"`}[i/2%2])
		if i%2 == 1 {
			text = formPut("/bad", "ttl="+bad)
		}
		wg.Go(func() {
			for range size(3, 20) {
				if _, err := io.WriteString(nc, text); err != nil {
					return // the member has closed the connection
				}
			}
		})
	}
	return func() {
		closeConns()
		wg.Wait()
	}
}

// idle opens connections that send nothing, and ones that send nothing after a request.
func (x *target) idle(*testing.T) (end func()) {
	all, end := x.dialed(size(200, 5_000))
	for i, nc := range all {
		if i%2 == 1 {
			_, _ = io.WriteString(nc, "GET /version HTTP/1.1\r\nHost: a\r\n\r\n")
		}
	}
	return end
}
