package v2client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
)

// socketPath returns the path of the socket in an endpoint unix://PATH or unixs://PATH.
func socketPath(endpoint *url.URL) (path string, ok bool) {
	if endpoint.Scheme != "unix" && endpoint.Scheme != "unixs" {
		return "", false
	}
	return endpoint.Host + endpoint.Path, true // a relative path begins in the place of the host
}

// socketURL returns the URL of requests over a socket.
func socketURL(endpoint *url.URL) url.URL {
	u := url.URL{Scheme: "http", Host: "localhost"}
	if endpoint.Scheme == "unixs" {
		u.Scheme = "https"
	}
	return u
}

// stays reports whether a redirect stays on the endpoint, so that the credentials may follow it.
func (c *Client) stays(endpoint, target *url.URL) bool {
	own := *endpoint
	if _, ok := socketPath(endpoint); ok {
		own = socketURL(endpoint)
	}
	return own.Scheme == target.Scheme && own.Host == target.Host
}

// transport returns the transport for a request to a target at an endpoint: for a socket, one that
// connects to it. The certificate must be valid for the name of the socket, as the Go client of v3
// requires.
func (c *Client) transport(endpoint, target *url.URL) *http.Transport {
	path, ok := socketPath(endpoint)
	if !ok || !c.stays(endpoint, target) {
		return c.config.Transport
	}
	if known := c.sockets[path]; known != nil {
		return known
	}
	t := c.config.Transport.Clone()
	t.Proxy = nil
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.ServerName = filepath.Base(path)
	c.sockets[path] = t
	return t
}
