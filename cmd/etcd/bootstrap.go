package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/member"
	"cairn/internal/membership"
	"cairn/internal/peer"
)

// Time limits of requests to other members. While a cluster is bootstrapped the others need not run
// yet.
const (
	fetchTimeout     = time.Second
	fetchTimeoutJoin = 10 * time.Second
	// additionPatience is how long a member that joins asks again for the list of members, while
	// the list has fewer members than the flags: the member that responds may not have applied the
	// addition yet.
	additionPatience = 5 * time.Second
	additionInterval = 100 * time.Millisecond
)

// bootstrapMember creates the member in the data directory: first its stores, then its identity.
// The log is in logDir if that is not "".
func bootstrapMember(ctx context.Context, cfg *config.Config, dir *datadir.Dir, logDir string, named []config.Founder, dial peer.TLS) error {
	newIdentity, initialize := found, member.Initialize
	if cfg.InitialClusterState == config.ClusterExisting {
		newIdentity, initialize = join, member.InitializeJoining
	}
	id, members, err := newIdentity(ctx, cfg, named, dial)
	if err != nil {
		return err
	}
	nursery, err := dir.NewStores()
	if err != nil {
		return err
	}
	if logDir != "" {
		if err := dir.LinkLog(nursery, logDir); err != nil {
			return fmt.Errorf("--wal-dir: %w", err)
		}
	}
	if err := initialize(fileSystem(cfg), nursery, members); err != nil {
		return err
	}
	if err := dir.Create(id); err != nil || logDir == "" {
		return err
	}
	return dir.SignLog(logDir)
}

// found returns the identity of this member in a new cluster, and the initial members.
func found(ctx context.Context, cfg *config.Config, named []config.Founder, dial peer.TLS) (datadir.Identity, []membership.Member, error) {
	id := datadir.Identity{Name: cfg.Name, Created: time.Now()}
	founders := foundingMembers(cfg, named)
	ids := make([]uint64, len(founders))
	for i, m := range founders {
		if ids[i] = m.ID; named[i].Name == cfg.Name {
			id.MemberID = m.ID
		}
	}
	id.ClusterID = membership.ClusterID(ids)
	return id, founders, checkNotBootstrapped(ctx, cfg, named, id, dial)
}

// foundingMembers returns the initial records of the members. Every initial member derives the
// same: a member's name and client URLs are recorded when it publishes itself.
func foundingMembers(cfg *config.Config, named []config.Founder) []membership.Member {
	members := make([]membership.Member, len(named))
	for i, f := range named {
		urls := f.PeerURLs.Strings()
		members[i] = membership.Member{ID: membership.MemberID(urls, cfg.InitialClusterToken), PeerURLs: urls}
	}
	return members
}

// otherURLs returns the peer URLs of the other members in the flags.
func otherURLs(cfg *config.Config, named []config.Founder) (urls []string) {
	for _, f := range named {
		if f.Name != cfg.Name {
			urls = append(urls, f.PeerURLs.Strings()...)
		}
	}
	return urls
}

// checkNotBootstrapped refuses to bootstrap a member a second time. A member without its data has
// lost votes and acknowledged writes; if it started again under its ID, the cluster could lose
// acknowledged writes.
func checkNotBootstrapped(ctx context.Context, cfg *config.Config, named []config.Founder, id datadir.Identity, dial peer.TLS) error {
	urls := otherURLs(cfg, named)
	if len(urls) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	clusterID, members, err := peer.FetchCluster(ctx, urls, dial)
	if err != nil || clusterID != id.ClusterID {
		// no member responds yet, or one of another cluster, which the cluster ID will refuse
		return nil //nolint:nilerr
	}
	switch me, ok := membership.Find(members, id.MemberID); {
	case !ok:
		return fmt.Errorf("--initial-cluster: member %x, which %q would be, was removed from cluster %x: add it as a new member (etcdctl member add) and start it with --initial-cluster-state=%s",
			id.MemberID, cfg.Name, id.ClusterID, config.ClusterExisting)
	case me.Started():
		return fmt.Errorf("--data-dir: %s is empty, but member %x (%q) has run in cluster %x before: give its data directory, or replace the member (etcdctl member replace %s)",
			cfg.DataDir, id.MemberID, me.Name, id.ClusterID, me.Name)
	}
	return nil
}

// join requests from the running cluster its ID, this member's ID, and the list of members.
func join(ctx context.Context, cfg *config.Config, named []config.Founder, dial peer.TLS) (datadir.Identity, []membership.Member, error) {
	id := datadir.Identity{Name: cfg.Name, Created: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeoutJoin)
	defer cancel()
	for began := time.Now(); ; {
		clusterID, members, err := peer.FetchCluster(ctx, otherURLs(cfg, named), dial)
		if err != nil {
			return id, nil, fmt.Errorf("--initial-cluster: request the members of the cluster: %w", err)
		}
		id.ClusterID = clusterID
		id.MemberID, err = assign(ctx, cfg, named, members)
		if len(members) >= len(named) || time.Since(began) > additionPatience {
			return id, members, err
		}
		select {
		case <-time.After(additionInterval):
		case <-ctx.Done():
			return id, members, err
		}
	}
}

// assign compares the members in the flags with those of the cluster, and returns this member's ID.
func assign(ctx context.Context, cfg *config.Config, named []config.Founder, members []membership.Member) (id uint64, err error) {
	const way = "give --initial-cluster as 'etcdctl member add' printed it, or as 'etcdctl member list' shows it now"
	if len(named) != len(members) {
		return 0, fmt.Errorf("--initial-cluster: names %d members, the cluster has %d (%s): %s", len(named), len(members), listed(members), way)
	}
	for _, f := range named {
		i := slices.IndexFunc(members, func(m membership.Member) bool { return samePeerURLs(ctx, f.PeerURLs, m.PeerURLs) })
		if i < 0 {
			return 0, fmt.Errorf("--initial-cluster: no member of the cluster has the peer URLs of %q, %s; it has %s: %s", f.Name, f.PeerURLs, listed(members), way)
		}
		if f.Name != cfg.Name {
			continue
		}
		if members[i].Started() {
			return 0, fmt.Errorf("--data-dir: %s is empty, but member %x (%q) has run before: give its data directory, or replace the member (etcdctl member replace %s)",
				cfg.DataDir, members[i].ID, members[i].Name, members[i].Name)
		}
		id = members[i].ID
	}
	if id == 0 {
		// config has checked it
		return 0, errors.New("--initial-cluster: does not name this member")
	}
	return id, nil
}

func samePeerURLs(ctx context.Context, a config.URLs, texts []string) bool {
	b, err := config.ParseURLs(strings.Join(texts, ","))
	return err == nil && config.SameAddresses(ctx, lookupPatiently, a, b)
}

func listed(members []membership.Member) string {
	texts := make([]string, len(members))
	for i, m := range members {
		texts[i] = strings.Join(m.PeerURLs, ",")
	}
	return strings.Join(texts, " ")
}
