package reach

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// leastTimeout is the time-out of the diagnosis of one endpoint unless the options have a longer
// one.
const leastTimeout = 2 * time.Second

// Options describe how the client connects to the endpoints.
type Options struct {
	TLS        *tls.Config // of https:// endpoints, and of all with ForceTLS
	ForceTLS   bool        // use TLS for endpoints without a scheme
	HasCert    bool        // TLS has a client certificate
	CAOption   string      // names of the options, for advice
	CertOption string
	KeyOption  string
	Given      string // how the user gives the endpoints, for advice; "with --endpoints" if empty
	// Timeout is the user's time-out for connecting. Where it is longer than 2 s, the diagnosis of
	// an endpoint waits as long.
	Timeout time.Duration
}

// timeout returns the time-out of the diagnosis of one endpoint.
func (o Options) timeout() time.Duration { return max(o.Timeout, leastTimeout) }

// All returns a line for each unhealthy endpoint: "ENDPOINT: cause: what to do". If all endpoints
// are healthy it returns none.
func All(ctx context.Context, endpoints []string, o Options) []string {
	lines := make([]string, len(endpoints))
	var all sync.WaitGroup
	for i, endpoint := range endpoints {
		all.Go(func() {
			if cause := Diagnose(ctx, endpoint, o); cause != "" {
				lines[i] = endpoint + ": " + cause
			}
		})
	}
	all.Wait()
	var unwell []string
	for _, line := range lines {
		if line != "" {
			unwell = append(unwell, line)
		}
	}
	return unwell
}

// target splits an endpoint into the network, the address to dial, the host, and whether it uses
// TLS.
func (o Options) target(endpoint string) (network, address, host string, secure bool, err error) {
	secure = o.ForceTLS
	if path, isUnix := strings.CutPrefix(endpoint, "unix://"); isUnix {
		return "unix", path, "localhost", false, nil
	}
	if path, isUnix := strings.CutPrefix(endpoint, "unixs://"); isUnix {
		// the Go client verifies the file's name
		return "unix", path, filepath.Base(path), true, nil
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = "//" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return "", "", "", false, errors.New("not an endpoint: want HOST:PORT, http://HOST:PORT or https://HOST:PORT")
	}
	port := u.Port()
	switch u.Scheme {
	case "https":
		secure = true
	case "http":
		secure = false
	case "":
	default:
		return "", "", "", false, fmt.Errorf("unknown scheme %q: want http or https", u.Scheme)
	}
	if port == "" {
		return "", "", "", false, errors.New("no port: etcd's client port is 2379 unless configured otherwise")
	}
	return "tcp", net.JoinHostPort(u.Hostname(), port), u.Hostname(), secure, nil
}

// Diagnose connects to an endpoint, requests its health, and returns what is wrong and what to do,
// or "" if the member is healthy.
func Diagnose(ctx context.Context, endpoint string, o Options) string {
	ctx, cancel := context.WithTimeout(ctx, o.timeout())
	defer cancel()
	network, address, host, secure, err := o.target(endpoint)
	if err != nil {
		return err.Error()
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return dialError(err, address, o)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err.Error()
	}
	if secure {
		config := o.TLS.Clone()
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		config.ServerName, config.NextProtos = host, []string{"http/1.1"}
		client := tls.Client(conn, config)
		if err := client.HandshakeContext(ctx); err != nil {
			return handshakeError(err, address, o)
		}
		conn = client
	}
	return askHealth(conn, address, host, secure, o)
}

// dialError explains why no connection was made.
func dialError(err error, address string, o Options) string {
	given := cmp.Or(o.Given, "with --endpoints")
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: no etcd listens on this address; start it, or give the right address " + given
	case errors.Is(err, syscall.ENOENT):
		return fmt.Sprintf("there is no socket %s: start etcd, or give the right address %s", address, given)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("no such host %s: check its spelling, or /etc/hosts and the DNS", dns.Name)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to this host: check the address and the network"
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("no response within %v: the machine is down, or a firewall drops the packets", o.timeout())
	}
	return err.Error()
}

// healthBytesMax is the maximum size of a health response.
const healthBytesMax = 64 << 10

// endpointOf returns the endpoint for a dialed address: the path of a socket, or HOST:PORT.
func endpointOf(address string, secure bool) string {
	scheme := "http"
	if filepath.IsAbs(address) {
		scheme = "unix"
	}
	if secure {
		scheme += "s"
	}
	return scheme + "://" + address
}

// askHealth requests the health of a connected endpoint.
func askHealth(conn net.Conn, address, host string, secure bool, o Options) string {
	// With the parameter the body is that of etcd 3.4 and later, which has a reason.
	_, err := fmt.Fprintf(conn, "GET /health?serializable=false HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
	var first []byte
	reader := bufio.NewReader(conn)
	if err == nil {
		first, err = reader.Peek(5)
	}
	switch {
	case !secure && len(first) > 0 && first[0] == 21: // a TLS alert
		return "the server speaks TLS: use " + endpointOf(address, true)
	case err != nil && !secure && !isTimeout(err):
		return "the server closed the connection without a response: it may speak TLS (" + endpointOf(address, true) + "), or not be etcd"
	case isTimeout(err):
		return fmt.Sprintf("connected, but no response within %v: the member hangs, or this is not etcd's client port", o.timeout())
	case err != nil:
		return handshakeError(err, address, o)
	}
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return fmt.Sprintf("the server does not speak HTTP (%v): is this etcd's client port?", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, healthBytesMax))
	if err != nil {
		return fmt.Sprintf("read /health: %v", err)
	}
	return healthText(resp.StatusCode, body, address)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// healthText interprets a response of /health.
func healthText(status int, body []byte, address string) string {
	var health struct {
		Health any
		Reason string
	}
	notEtcd := json.Unmarshal(body, &health) != nil || health.Health == nil
	switch {
	case strings.Contains(string(body), "HTTPS server"), strings.Contains(string(body), "speaks TLS"):
		return "the server speaks TLS: use " + endpointOf(address, true)
	case notEtcd && status != http.StatusServiceUnavailable:
		return fmt.Sprintf("the server is not etcd, or this is not its client port (/health is status %d)", status)
	case health.Health == "true" || health.Health == true:
		return ""
	}
	reason := health.Reason
	if reason == "" {
		reason = "no reason given"
	}
	return fmt.Sprintf("the member is not healthy (%s): a cluster needs a majority of its members for a leader; "+
		"start the missing ones, or see docs/guides/disaster.md (--force-new-cluster)", strings.ToLower(reason))
}
