package peer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"cairn/internal/membership"
)

// memberJSON is a member as etcd's peer port shows it.
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
	_, _ = w.Write(append(body, '\n')) // a client that has gone is no business of ours
}

// FetchCluster asks the peer ports at some URLs, one after the other, for the members of their cluster. It returns the first
// answer, or an error that tells of each URL. The members are in the order of their IDs.
func FetchCluster(ctx context.Context, urls []string, tlsConfig *tls.Config) (clusterID uint64, members []membership.Member, err error) {
	err = fetch(ctx, urls, "/members", tlsConfig, func(h http.Header, body []byte) error {
		id, ok := parseID(h.Get(headerCluster))
		if !ok {
			return fmt.Errorf("it answers without the ID of its cluster (%s: %q)", headerCluster, shorten(h.Get(headerCluster)))
		}
		var list []memberJSON
		if err := json.Unmarshal(body, &list); err != nil {
			return fmt.Errorf("read its members: %w", err)
		}
		if len(list) == 0 {
			return errors.New("it answers that its cluster has no members")
		}
		clusterID, members = id, make([]membership.Member, 0, len(list))
		for _, m := range list {
			members = append(members, membership.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.Learner})
		}
		slices.SortFunc(members, func(a, b membership.Member) int {
			if a.ID < b.ID {
				return -1
			}
			return 1
		})
		return nil
	})
	if err != nil {
		return 0, nil, fmt.Errorf("ask for the members of the cluster: %w", err)
	}
	return clusterID, members, nil
}

// FetchVersion asks the peer ports at some URLs, one after the other, for their versions: etcd's API level of the member, and
// that of its cluster ("not_decided" while there is none). It returns the first answer, or an error that tells of each URL.
func FetchVersion(ctx context.Context, urls []string, tlsConfig *tls.Config) (server, cluster string, err error) {
	err = fetch(ctx, urls, "/version", tlsConfig, func(_ http.Header, body []byte) error {
		var v struct {
			Server  string `json:"etcdserver"`
			Cluster string `json:"etcdcluster"`
		}
		if err := json.Unmarshal(body, &v); err != nil {
			return fmt.Errorf("read its version: %w", err)
		}
		if v.Server == "" {
			return errors.New("it answers without a version")
		}
		server, cluster = v.Server, v.Cluster
		return nil
	})
	if err != nil {
		return "", "", fmt.Errorf("ask for a version: %w", err)
	}
	return server, cluster, nil
}

// fetch gets a path from the first of some URLs whose answer can be read.
func fetch(ctx context.Context, urls []string, path string, tlsConfig *tls.Config, read func(http.Header, []byte) error) error {
	if len(urls) == 0 {
		return errors.New("no URLs to ask at")
	}
	var failures []error
	for _, text := range urls {
		u, err := parseURL(text)
		if err == nil {
			err = fetchURL(ctx, u, path, tlsConfig, read)
		}
		if err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", text, err))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failures...)
}

func fetchURL(ctx context.Context, u *url.URL, path string, tlsConfig *tls.Config, read func(http.Header, []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialURL(ctx, u, tlsConfig) }
	transport := &http.Transport{DialContext: dial, DialTLSContext: dial, DisableKeepAlives: true, MaxResponseHeaderBytes: answerBytesMax}
	over := url.URL{Scheme: "http", Host: u.Host, Path: path}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, over.String(), nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it is read
	body, err := io.ReadAll(io.LimitReader(resp.Body, fetchBytesMax))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return read(resp.Header, body)
}
