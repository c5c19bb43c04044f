package discovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Errors of a discovery service. The texts begin with etcd's.
var (
	ErrSizeNotFound  = errors.New("discovery: size key not found: create it (PUT URL/_config/size with the number of members), or ask for a new URL")
	ErrTokenNotFound = errors.New("discovery: size key not found: create the token (etcdctl discovery new --size N), and give each member what that prints")
	ErrBadSize       = errors.New("discovery: size key is bad: want a number of members, 1 or more")
	ErrFull          = errors.New("discovery: cluster is full: all members have registered; add this one with 'etcdctl member add'")
	ErrDuplicateID   = errors.New("discovery: found duplicate id: this member has registered before; give its data directory, or use a new discovery URL if that start failed")
	ErrBadMembers    = errors.New("discovery: the registered members are no list of members")
)

// Limits of the memory and time that a discovery service may cost the caller.
const (
	responseMax     = 1 << 20 // bytes of a response
	sizeMax         = 1000    // members
	requestTimeout  = 5 * time.Second
	pollTimeout     = time.Minute // of a long poll; it is repeated
	retryPause      = time.Second // after a request that failed; doubled up to retryPauseMax
	retryPauseMax   = 16 * time.Second
	codeKeyNotFound = 100 // of the v2 API
	codeNodeExists  = 105
)

// Service is a discovery service that uses etcd's v2 protocol
// (https://etcd.io/docs/v3.6/dev-internal/discovery_protocol/): the members register below a URL,
// which has the number of members, and wait for the others.
type Service struct {
	URL    string // of the cluster, for example http://HOST:2379/v2/keys/discovery/TOKEN
	Client *http.Client
	Logger *slog.Logger
}

// node is a node of the v2 API.
type node struct {
	Key          string `json:"key"`
	Value        string `json:"value"`
	Dir          bool   `json:"dir"`
	CreatedIndex uint64 `json:"createdIndex"`
	Nodes        []node `json:"nodes"`
}

// response is a response of the v2 API.
type response struct {
	Node  node   `json:"node"`
	Code  int    `json:"errorCode"`
	Text  string `json:"message"`
	index uint64
}

// Cluster waits until all members have registered, and returns --initial-cluster. It registers
// none.
func (s *Service) Cluster(ctx context.Context) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	return awaitFull(ctx, s, s.Logger, "")
}

// check returns an error when the URL is unusable.
func (s *Service) check() error {
	if u, err := url.Parse(s.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("discovery: invalid URL %q: want http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH", s.URL)
	}
	return nil
}

// Join registers a member, whose text is its part of --initial-cluster, and waits until all members
// have registered. It returns --initial-cluster. Requests without a response are repeated until ctx
// ends.
func (s *Service) Join(ctx context.Context, memberID uint64, text string) (cluster string, err error) {
	if err := s.check(); err != nil {
		return "", err
	}
	return join(ctx, s, s.Logger, memberID, text)
}

// list reads the size and the members.
func (s *Service) list(ctx context.Context) (*registered, error) {
	resp, err := s.do(ctx, http.MethodGet, "/_config/size", nil)
	switch {
	case err != nil:
		return nil, err
	case resp.Code == codeKeyNotFound:
		return nil, ErrSizeNotFound
	case resp.Code != 0:
		return nil, fmt.Errorf("discovery: read the size: %s (%d)", resp.Text, resp.Code)
	}
	r := new(registered)
	if r.size, err = parseSize(resp.Node.Value); err != nil {
		return nil, err
	}
	if resp, err = s.do(ctx, http.MethodGet, "", nil); err != nil {
		return nil, err
	}
	if resp.Code != 0 {
		return nil, fmt.Errorf("discovery: read the members: %s (%d)", resp.Text, resp.Code)
	}
	r.index = resp.index
	for _, n := range resp.Node.Nodes {
		// the v3 protocol keeps its members in a directory below
		if path.Base(n.Key) != "_config" && !n.Dir {
			r.members = append(r.members, n)
		}
	}
	slices.SortFunc(r.members, func(a, b node) int { return cmp.Compare(a.CreatedIndex, b.CreatedIndex) })
	return r, nil
}

// register implements registry.
func (s *Service) register(ctx context.Context, id, text string) error {
	resp, err := s.do(ctx, http.MethodPut, "/"+id, url.Values{"value": {text}, "prevExist": {"false"}})
	switch {
	case err != nil:
		return err
	case resp.Code == codeNodeExists:
		if have, err := s.list(ctx); err == nil {
			if at := have.find(id); at >= 0 && have.members[at].Value == text {
				return nil
			}
		}
		return ErrDuplicateID
	case resp.Code != 0:
		return fmt.Errorf("discovery: register this member: %s (%d)", resp.Text, resp.Code)
	}
	return nil
}

// wait implements registry: it returns when something has changed below the URL since index, or
// after a while.
func (s *Service) wait(ctx context.Context, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	query := "?wait=true&recursive=true&waitIndex=" + strconv.FormatUint(index, 10)
	if resp, err := s.once(ctx, http.MethodGet, query, nil); err != nil || resp.Code != 0 {
		pause(ctx, retryPause)
	}
}

// do repeats a request until it gets a response. Only the end of ctx ends the attempts; the error
// names what was tried.
func (s *Service) do(ctx context.Context, method, below string, form url.Values) (*response, error) {
	var last error
	for delay := retryPause; ; delay = min(2*delay, retryPauseMax) {
		bounded, cancel := context.WithTimeout(ctx, requestTimeout)
		resp, err := s.once(bounded, method, below, form)
		cancel()
		if err == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, noResponse(s.URL, last)
		}
		last = err
		s.Logger.Warn("discovery service cannot be reached", "url", s.URL, "error", err, "retry_in", delay)
		pause(ctx, delay)
	}
}

// once sends a request. An error of the v2 API is a response; any other status is an error.
func (s *Service) once(ctx context.Context, method, below string, form url.Values) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.URL, "/")+below, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, responseMax))
	if err != nil {
		return nil, err
	}
	decoded := new(response)
	if err := json.Unmarshal(text, decoded); err != nil || resp.StatusCode/100 != 2 && (decoded.Code == 0 || resp.StatusCode >= 500) {
		return nil, fmt.Errorf("%s %s: unexpected response %s: %.100q", method, req.URL.Redacted(), resp.Status, text)
	}
	// without it every change counts as new
	decoded.index, _ = strconv.ParseUint(resp.Header.Get("X-Etcd-Index"), 10, 64)
	return decoded, nil
}
