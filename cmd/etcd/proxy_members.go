package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cairn/internal/config"
	"cairn/internal/discovery"
	"cairn/internal/peer"
)

// clusterFile returns the file in which a proxy stores the peer URLs of the members, as etcd's
// does: at the next start they replace --initial-cluster, which may be out of date by then.
func clusterFile(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "proxy", "cluster") }

// clusterURLs are the contents of the file.
type clusterURLs struct {
	PeerURLs []string
}

// proxyMembers finds the members of a proxy's cluster.
type proxyMembers struct {
	cfg  *config.Config
	log  *slog.Logger
	dial peer.TLS

	peerURLs []string // to which the requests for the list of members are sent
	isSaved  bool     // the cluster file has them
}

// begin finds the initial peer URLs.
func (m *proxyMembers) begin(ctx context.Context) error {
	if err := checkProxyDir(m.cfg); err != nil {
		return err
	}
	text, err := os.ReadFile(clusterFile(m.cfg))
	switch {
	case err == nil:
		var have clusterURLs
		if err := json.Unmarshal(text, &have); err != nil || len(have.PeerURLs) == 0 {
			return fmt.Errorf("%s: is not a list of peer URLs: want {\"PeerURLs\":[\"http://HOST:PORT\"]}, or remove the file", clusterFile(m.cfg))
		}
		m.peerURLs, m.isSaved = have.PeerURLs, true
		m.log.Info("peer URLs of the cluster file", "peer_urls", strings.Join(m.peerURLs, ","))
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read the cluster file: %w", err)
	}
	found, err := m.bootstrap(ctx)
	if err != nil {
		return err
	}
	// They are saved when a member has confirmed them: a typing error in a flag must not outlive
	// its correction.
	m.peerURLs = found
	return nil
}

// bootstrap returns the peer URLs that the flags name.
func (m *proxyMembers) bootstrap(ctx context.Context) ([]string, error) {
	cluster, flag := m.cfg.InitialCluster, "--initial-cluster"
	d := m.cfg.Discovery
	var err error
	switch {
	case d.SRV != "":
		bounded, cancel := context.WithTimeout(ctx, discoveryTimeout)
		defer cancel()
		return discovery.PeerURLs(bounded, net.DefaultResolver, d.SRV, d.SRVName)
	case d.URL != "":
		flag = "--discovery"
		service, closeIdle, failed := discoveryService(m.cfg, m.log)
		if failed != nil {
			return nil, failed
		}
		defer closeIdle()
		cluster, err = service.Cluster(ctx)
	case d.V3.Token != "":
		flag = "--discovery-token"
		service, failed := tokenService(m.cfg, m.log)
		if failed != nil {
			return nil, failed
		}
		cluster, err = service.Cluster(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	founders, err := config.ParseCluster(cluster)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	var urls []string
	for _, f := range founders {
		urls = append(urls, f.PeerURLs.Strings()...)
	}
	return urls, nil
}

// clientURLs requests the client URLs of the members, and records their peer URLs.
func (m *proxyMembers) clientURLs(ctx context.Context) ([]string, error) {
	_, members, err := peer.FetchCluster(ctx, m.peerURLs, m.dial)
	if err != nil {
		return nil, err
	}
	var clients, peers []string
	for _, member := range members {
		clients = append(clients, member.ClientURLs...)
		peers = append(peers, member.PeerURLs...)
	}
	slices.Sort(peers)
	peers = slices.Compact(peers)
	if len(peers) > 0 && !slices.Equal(peers, m.peerURLs) {
		m.log.Info("peer URLs have changed", "from", strings.Join(m.peerURLs, ","), "to", strings.Join(peers, ","))
		m.peerURLs, m.isSaved = peers, false
	}
	if !m.isSaved {
		if err := m.save(); err != nil {
			m.log.Warn("cannot write the cluster file; the next start may use URLs that are out of date", "error", err)
		}
	}
	return clients, nil
}

// save writes the cluster file under a temporary name and renames it, so that the file is never
// partly written.
func (m *proxyMembers) save() error {
	path := clusterFile(m.cfg)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write the cluster file: %w", err)
	}
	text, err := json.Marshal(clusterURLs{m.peerURLs})
	if err == nil {
		err = os.WriteFile(path+".bak", text, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".bak", path)
	}
	if err != nil {
		return fmt.Errorf("write the cluster file: %w", err)
	}
	m.isSaved = true
	return nil
}
