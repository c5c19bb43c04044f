// Package v2client speaks etcd's v2 HTTP API to a cluster.
//
// It owns the list of endpoints, the order in which they are tried, the rules for trying the next
// one, and the types of the responses. It does not own printing, flags or exit codes (v2cmd does).
//
// Invariants: a request goes to the endpoint that responded last, then to each of the others once;
// a request that is not safe to repeat (Request.OneShot) goes to one endpoint only. A response
// below 500 ends the round whatever it says.
//
// Concurrency: a Client is for use by one goroutine.
package v2client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// redirectsMax is the maximum number of redirects of one attempt.
const redirectsMax = 10

// Config configures a Client.
type Config struct {
	// Endpoints are base URLs, in the order in which they are tried. One without a scheme means
	// http.
	Endpoints []string
	// Username and Password are sent as Basic credentials when Username is not empty.
	Username, Password string
	// Transport carries the requests.
	Transport *http.Transport
	// HeaderTimeout limits the wait for the header of one response, except that of a watch. Zero
	// means no limit.
	HeaderTimeout time.Duration
	// Trace, if set, is called with a curl command line for each request.
	Trace func(curl string)
}

// Client sends requests to the first endpoint of a cluster that responds.
type Client struct {
	config    Config
	endpoints []*url.URL
	pinned    int                        // index in endpoints of the one that responded last
	sockets   map[string]*http.Transport // of endpoints that are sockets, by path
}

// Request is one request, for any endpoint.
type Request struct {
	Method string
	// for example /v2/keys/a; cleaned before it is sent, except for a slash at the end
	Path  string
	Query url.Values
	Body  *string // nil sends none and no Content-Type
	JSON  bool    // the body is JSON and not a form
	// Watch marks a long poll, to which the header timeout does not apply.
	Watch bool
	// OneShot marks a request that must not be repeated on another endpoint.
	OneShot bool
}

// HTTPResponse is the response of an endpoint.
type HTTPResponse struct {
	Status int
	Header http.Header
	Body   []byte
}

// New returns a client for the endpoints of the configuration. It fails when one of them is not a
// URL.
func New(config Config) (*Client, error) {
	c := &Client{config: config, sockets: map[string]*http.Transport{}}
	if err := c.setEndpoints(config.Endpoints); err != nil {
		return nil, err
	}
	return c, nil
}

const endpointForms = "want http://HOST:PORT, https://HOST:PORT, unix://PATH or unixs://PATH"

func (c *Client) setEndpoints(list []string) error {
	var urls []*url.URL
	for _, text := range list {
		if text == "" {
			continue
		}
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		u, err := url.Parse(text)
		if err != nil {
			return fmt.Errorf("endpoint %q: %w: %s", text, err, endpointForms)
		}
		if path, ok := socketPath(u); u.Host == "" && !ok || ok && path == "" {
			return fmt.Errorf("endpoint %q has no host: %s", text, endpointForms)
		}
		urls = append(urls, u)
	}
	if len(urls) == 0 {
		return ErrNoEndpoints
	}
	c.endpoints, c.pinned = urls, 0
	return nil
}

// Endpoints returns the base URLs in the order in which they are tried.
func (c *Client) Endpoints() []string {
	var list []string
	for _, u := range c.endpoints {
		list = append(list, u.String())
	}
	return list
}

// Sync replaces the endpoints by the client URLs that the cluster's members publish. The one that
// responded is tried first. It returns ErrNoEndpoints, and changes nothing, when no member
// publishes any.
func (c *Client) Sync(ctx context.Context) error {
	members, err := c.Members(ctx)
	if err != nil {
		return err
	}
	responded := strings.TrimSuffix(c.endpoints[c.pinned].String(), "/")
	var list []string
	for _, m := range members {
		for _, u := range m.ClientURLs {
			if u == responded {
				list = append([]string{u}, list...)
			} else {
				list = append(list, u)
			}
		}
	}
	return c.setEndpoints(list)
}

// Do sends a request to one endpoint after the other until one responds. It returns a *ClusterError
// with the error of each if none does, and ctx's error if ctx ends first.
func (c *Client) Do(ctx context.Context, r Request) (*HTTPResponse, error) {
	var faults ClusterError
	for i := range c.endpoints {
		k := (c.pinned + i) % len(c.endpoints)
		response, err := c.try(ctx, c.endpoints[k], r)
		if err == nil {
			c.pinned = k
			return response, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		faults.Errors = append(faults.Errors, err)
		if r.OneShot {
			return nil, err
		}
	}
	return nil, &faults
}

// changesMembers reports whether a request adds, removes or updates a member.
func (r *Request) changesMembers() bool {
	return r.Method != http.MethodGet && strings.HasPrefix(r.Path, "/v2/members")
}

// try sends a request to one endpoint and follows its redirects. A status of 500 or above is an
// error, so that the next endpoint is tried.
func (c *Client) try(ctx context.Context, endpoint *url.URL, r Request) (*HTTPResponse, error) {
	target := *endpoint
	if _, ok := socketPath(endpoint); ok {
		target = socketURL(endpoint)
	}
	target.Path = cleanPath(target.Path + "/" + strings.TrimPrefix(r.Path, "/"))
	target.RawQuery = r.Query.Encode()
	next := &target
	for range redirectsMax + 1 {
		response, err := c.exchange(ctx, endpoint, next, r)
		if err != nil {
			return nil, err
		}
		switch {
		case response.Status == http.StatusInternalServerError && r.changesMembers():
			// etcd responds so, without a reason, to a change that it refuses as unhealthy.
			return nil, fmt.Errorf("client: etcd member %s returns server error [%s]: if it is healthy, it has refused the change: "+
				"another member is down, or the members have not been connected to each other for 5 s yet", endpoint, http.StatusText(response.Status))
		case response.Status == http.StatusInternalServerError || response.Status == http.StatusServiceUnavailable:
			return nil, fmt.Errorf("client: etcd member %s has no leader", endpoint)
		case response.Status >= 500:
			return nil, fmt.Errorf("client: etcd member %s returns server error [%s]", endpoint, http.StatusText(response.Status))
		case response.Status/100 != 3:
			return response, nil
		}
		if next, err = next.Parse(response.Header.Get("Location")); err != nil {
			return nil, fmt.Errorf("client: etcd member %s redirects to %q: %w", endpoint, response.Header.Get("Location"), err)
		}
	}
	return nil, fmt.Errorf("client: etcd member %s redirected more than %d times", endpoint, redirectsMax)
}

// exchange sends one HTTP request and reads the whole response.
func (c *Client) exchange(ctx context.Context, endpoint, target *url.URL, r Request) (*HTTPResponse, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var body io.Reader
	if r.Body != nil {
		body = strings.NewReader(*r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target.String(), body)
	if err != nil {
		return nil, err
	}
	if r.Body != nil && r.JSON {
		req.Header.Set("Content-Type", "application/json")
	} else if r.Body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.config.Username != "" && c.stays(endpoint, target) {
		req.SetBasicAuth(c.config.Username, c.config.Password)
	}
	if c.config.Trace != nil {
		line := curl(r, target)
		if path, ok := socketPath(endpoint); ok && c.stays(endpoint, target) {
			line = strings.Replace(line, "curl ", "curl --unix-socket "+path+" ", 1)
		}
		c.config.Trace(line)
	}
	if c.config.HeaderTimeout > 0 && !r.Watch {
		slow := fmt.Errorf("client: endpoint %s exceeded header timeout", endpoint)
		defer time.AfterFunc(c.config.HeaderTimeout, func() { cancel(slow) }).Stop()
	}
	// Use the transport, not an http.Client: its errors have the cause (`dial tcp …: connection
	// refused`) without repeating the request, and are what etcdctl prints.
	resp, err := c.transport(endpoint, target).RoundTrip(req)
	if err != nil {
		return nil, attemptError(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, attemptError(ctx, err)
	}
	return &HTTPResponse{Status: resp.StatusCode, Header: resp.Header, Body: data}, nil
}

// attemptError returns the cause of a canceled attempt instead of the transport's "context
// canceled".
func attemptError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// cleanPath is path.Clean, except that it keeps a slash at the end: to v2's auth, /d and /d/ are
// different paths.
func cleanPath(p string) string {
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// curl returns a command line that sends the same request, without credentials: it may be logged.
func curl(r Request, target *url.URL) string {
	line := "curl -X " + r.Method + " " + target.String()
	if r.Body != nil {
		line += fmt.Sprintf(" -d %q", *r.Body)
	}
	return line
}
