package peer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"cairn/internal/membership"
)

// memberJSON is a member in the JSON of etcd's peer port.
type memberJSON struct {
	ID         uint64   `json:"id"`
	PeerURLs   []string `json:"peerURLs"`
	Learner    bool     `json:"isLearner,omitempty"`
	Name       string   `json:"name,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
}

const (
	fetchTimeout  = 5 * time.Second // for one URL
	fetchBytesMax = 1 << 20
)

func (t *Transport) serveMembers(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	members := t.cfg.Members()
	list := make([]memberJSON, 0, len(members))
	for _, m := range members {
		list = append(list, memberJSON{m.ID, m.PeerURLs, m.Learner, m.Name, m.ClientURLs})
	}
	body, err := json.Marshal(list)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(headerCluster, fmt.Sprintf("%x", t.cfg.ClusterID))
	_, _ = w.Write(append(body, '\n')) // an error means that the client has disconnected
}

// FetchCluster requests the members of a cluster from the peer ports at some URLs, one after the
// other. It returns the first response, or an error that names each URL. The members are sorted by
// ID.
func FetchCluster(ctx context.Context, urls []string, secure TLS) (clusterID uint64, members []membership.Member, err error) {
	if len(urls) == 0 {
		return 0, nil, errors.New("request the members of the cluster: no URLs")
	}
	var failures []error
	for _, text := range urls {
		header, body, err := fetchMembers(ctx, text, secure)
		if err == nil {
			clusterID, members, err = readCluster(header, body)
		}
		if err == nil {
			return clusterID, members, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", text, err))
		if ctx.Err() != nil {
			break
		}
	}
	return 0, nil, fmt.Errorf("request the members of the cluster: %w", errors.Join(failures...))
}

// readCluster decodes a response of serveMembers.
func readCluster(header http.Header, body []byte) (clusterID uint64, members []membership.Member, err error) {
	clusterID, ok := parseID(header.Get(headerCluster))
	if !ok {
		return 0, nil, fmt.Errorf("the response has no cluster ID (%s: %q)", headerCluster, shorten(header.Get(headerCluster)))
	}
	var list []memberJSON
	if err := json.Unmarshal(body, &list); err != nil {
		return 0, nil, fmt.Errorf("read its members: %w", err)
	}
	if len(list) == 0 {
		return 0, nil, errors.New("the response has no members")
	}
	for _, m := range list {
		members = append(members, membership.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.Learner})
	}
	slices.SortFunc(members, func(a, b membership.Member) int { return cmp.Compare(a.ID, b.ID) })
	return clusterID, members, nil
}

func fetchMembers(ctx context.Context, peerURL string, secure TLS) (http.Header, []byte, error) {
	u, err := parseURL(peerURL)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialURL(ctx, u, netip.Addr{}, secure) }
	transport := &http.Transport{DialContext: dial, DialTLSContext: dial, DisableKeepAlives: true, MaxResponseHeaderBytes: responseHeadMax}
	over := url.URL{Scheme: "http", Host: u.Host, Path: "/members"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, over.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read completely
	body, err := io.ReadAll(io.LimitReader(resp.Body, fetchBytesMax))
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("it responds with %s", resp.Status)
	}
	return resp.Header, body, nil
}
