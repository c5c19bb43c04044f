package config

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// etcd's; with a longer one, the loss of a leader would cost a minute
const electionTimeoutMax = 50 * time.Second

// complete derives missing settings and checks settings against each other.
func (c *Config) complete(chosen map[string]setting) error {
	if c.DataDir == "" {
		c.DataDir, c.DataDirDefaulted = c.Name+".etcd", true
	}
	if err := c.completeURLs(chosen); err != nil {
		return err
	}
	if err := c.completeTLS(chosen); err != nil {
		return err
	}
	if err := c.completeRotation(chosen); err != nil {
		return err
	}
	if err := c.checkTiming(); err != nil {
		return err
	}
	if err := c.completeDiscovery(chosen); err != nil {
		return err
	}
	if c.InitialCluster == "" && !c.Discovery.Enabled() {
		var parts []string
		for _, u := range c.InitialAdvertisePeerURLs {
			parts = append(parts, c.Name+"="+u.String())
		}
		c.InitialCluster = strings.Join(parts, ",")
	}
	return c.completeCompaction(chosen)
}

func (c *Config) completeURLs(chosen map[string]setting) error {
	_, listens := chosen["listen-client-urls"]
	_, advertises := chosen["advertise-client-urls"]
	mayBeProxy := c.Proxy.Mode != ProxyOff || c.Discovery.URL != "" && chosen["discovery-fallback"].value != "exit"
	if listens && !advertises && !mayBeProxy {
		// A member that listens on other addresses cannot be reached at the default ones. As in
		// etcd this is an error with flags and variables, and accepted in a configuration file.
		if c.File == "" {
			return errors.New("--advertise-client-urls: is required with --listen-client-urls: give the URLs at which clients reach this member")
		}
		c.warn("clients are sent to the default address", "advertise-client-urls", "give the URLs at which clients reach this member")
	}
	for _, l := range []struct {
		flag     string
		urls     URLs
		optional bool
	}{
		{"--listen-client-urls", c.ListenClientURLs, false},
		{"--listen-peer-urls", c.ListenPeerURLs, false},
		{"--listen-metrics-urls", c.ListenMetricsURLs, true},
		{"--listen-client-http-urls", c.ListenClientHTTPURLs, true},
	} {
		if len(l.urls) == 0 && !l.optional {
			return fmt.Errorf("%s: is empty: want http://IP:PORT[,http://IP:PORT…]", l.flag)
		}
		if err := checkListen(l.flag, l.urls); err != nil {
			return err
		}
	}
	for _, a := range []struct {
		flag string
		urls URLs
	}{
		{"--advertise-client-urls", c.AdvertiseClientURLs},
		{"--initial-advertise-peer-urls", c.InitialAdvertisePeerURLs},
	} {
		if len(a.urls) == 0 {
			return fmt.Errorf("%s: is empty: want http://HOST:PORT[,http://HOST:PORT…]", a.flag)
		}
		if err := c.checkAdvertise(a.flag, a.urls); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkTiming() error {
	ms := func(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
	switch h, e := c.HeartbeatInterval, c.ElectionTimeout; {
	case h == 0:
		return errors.New("--heartbeat-interval: is 0 ms: want 1 ms or more")
	case e > electionTimeoutMax:
		return fmt.Errorf("--election-timeout: %s is more than %s", ms(e), ms(electionTimeoutMax))
	case e < 5*h:
		return fmt.Errorf("--election-timeout: %s is less than five times --heartbeat-interval (%s): want %s or more", ms(e), ms(h), ms(5*h))
	}
	return nil
}

func (c *Config) completeCompaction(chosen map[string]setting) error {
	mode := setting{value: "periodic", source: "--auto-compaction-mode"}
	if s, ok := chosen["auto-compaction-mode"]; ok && s.value != "" {
		mode = s
	}
	retention, given := chosen["auto-compaction-retention"]
	if !given {
		retention = setting{value: defaultRetention, source: "--auto-compaction-retention"}
		// no default number of revisions is sensible, and etcd has none either
		if mode.value == "revision" {
			retention.value = "0"
			c.warn("history is kept forever", mode.source, "give --auto-compaction-retention the number of revisions to keep")
		}
	}
	c.retention = strings.TrimSpace(retention.value)
	if _, err := time.ParseDuration(c.retention); mode.value == "revision" && err == nil && c.retention != "0" {
		// etcd takes the nanoseconds for a number of revisions, which is never reached
		c.warn("history is kept forever", retention.source, "a length of time is no number of revisions")
		retention.value, c.retention = "0", "0"
	}
	a, err := parseRetention(mode.value, strings.TrimSpace(retention.value))
	if err != nil {
		if !slices.Contains([]string{"periodic", "revision"}, mode.value) {
			return errorAt(mode.source, err)
		}
		return errorAt(retention.source, err)
	}
	c.AutoCompaction = a
	return nil
}

// Founder is a member named in --initial-cluster.
type Founder struct {
	Name     string
	PeerURLs URLs
}

// Founders parses --initial-cluster, sorted by name, and checks that this member is in it with the
// URLs that it advertises; where the texts differ, host names are resolved. It is for members that
// are about to be created: as in etcd, an existing member ignores the setting, so that it restarts
// with flags from before its cluster changed.
func (c *Config) Founders(ctx context.Context, lookup Lookup) ([]Founder, error) {
	founders, err := parseFounders(c.InitialCluster)
	if err != nil {
		return nil, fmt.Errorf("--initial-cluster: %w", err)
	}
	i := slices.IndexFunc(founders, func(f Founder) bool { return f.Name == c.Name })
	if i < 0 {
		return nil, fmt.Errorf("--initial-cluster: member %q, which --name makes this one, is not in %q: add %s=%s",
			c.Name, c.InitialCluster, c.Name, c.InitialAdvertisePeerURLs)
	}
	if own := founders[i].PeerURLs; !SameAddresses(ctx, lookup, own, c.InitialAdvertisePeerURLs) {
		return nil, fmt.Errorf("--initial-advertise-peer-urls: %s differs from what --initial-cluster has for %q, %s: want the same URLs in both",
			c.InitialAdvertisePeerURLs, c.Name, own)
	}
	return founders, nil
}

// ParseCluster parses a list of members in the form of --initial-cluster.
func ParseCluster(text string) ([]Founder, error) { return parseFounders(text) }

// parseFounders parses NAME=URL pairs; a member with several URLs occurs once for each.
func parseFounders(text string) ([]Founder, error) {
	const form = "want NAME=URL[,NAME=URL…]"
	var founders []Founder
	owner := map[URL]string{} // by canonical form
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, address, _ := strings.Cut(part, "=")
		if address == "" {
			return nil, fmt.Errorf("member %q has no URL: %s", name, form)
		}
		if name == "" {
			return nil, fmt.Errorf("URL %q has no member: %s", address, form)
		}
		u, err := ParseURL(address)
		if err != nil {
			return nil, fmt.Errorf("member %q: %w", name, err)
		}
		switch other, ok := owner[u.canonical()]; {
		case ok && other == name:
			return nil, fmt.Errorf("member %q has the URL %s twice", name, u)
		case ok:
			return nil, fmt.Errorf("members %q and %q have the same URL %s", other, name, u)
		}
		owner[u.canonical()] = name
		i := slices.IndexFunc(founders, func(f Founder) bool { return f.Name == name })
		if i < 0 {
			i, founders = len(founders), append(founders, Founder{Name: name})
		}
		founders[i].PeerURLs = append(founders[i].PeerURLs, u)
	}
	if len(founders) == 0 {
		return nil, fmt.Errorf("is empty: %s", form)
	}
	for i := range founders {
		founders[i].PeerURLs = founders[i].PeerURLs.sorted()
	}
	slices.SortFunc(founders, func(a, b Founder) int { return strings.Compare(a.Name, b.Name) })
	return founders, nil
}
