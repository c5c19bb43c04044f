package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"cairn/internal/config"
	"cairn/internal/datadir"
)

// claim is what a start takes before it writes anything: every address that is listened on, and the
// look at the data directory and the options that says that a member can live there.
type claim struct {
	existing *datadir.Identity // the member in the data directory, or nil
	founders []config.Founder  // who --initial-cluster names, when there is no member yet

	client, peer, metrics []net.Listener
}

// stakeClaim fails without a trace: what it listened on is closed again, and nothing is on disk.
func stakeClaim(ctx context.Context, cfg *config.Config) (c *claim, err error) {
	c = new(claim)
	if c.existing, err = datadir.Inspect(cfg.DataDir); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if c.existing == nil {
		if c.founders, err = cfg.Founders(); err != nil {
			return nil, err
		}
	}
	if err := c.check(cfg); err != nil {
		return nil, err
	}
	listen := net.ListenConfig{}
	if cfg.SocketReusePort {
		listen.Control = reusePort
	}
	for _, l := range []struct {
		flag string
		urls config.URLs
		to   *[]net.Listener
	}{
		{"--listen-peer-urls", cfg.ListenPeerURLs, &c.peer},
		{"--listen-client-urls", cfg.ListenClientURLs, &c.client},
		{"--listen-metrics-urls", cfg.ListenMetricsURLs, &c.metrics},
	} {
		for _, u := range l.urls {
			listener, err := listen.Listen(ctx, "tcp", u.HostPort)
			if err != nil {
				c.Close()
				return nil, listenError(l.flag, u.HostPort, err)
			}
			*l.to = append(*l.to, listener)
		}
	}
	return c, nil
}

// reusePort lets other processes of the same user listen on the same port.
func reusePort(_, _ string, socket syscall.RawConn) error {
	var failed error
	if err := socket.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return failed
}

// check refuses what cannot be done, as far as that is known before anybody is asked.
func (c *claim) check(cfg *config.Config) error {
	if c.existing == nil && cfg.InitialClusterState == config.ClusterExisting && len(otherURLs(cfg, c.founders)) == 0 {
		return fmt.Errorf("--initial-cluster: names no other member than %q: to join a cluster, name its members as well, as 'etcdctl member add' prints them", cfg.Name)
	}
	return nil
}

// Close lets go of the addresses. Closing a listener that a server has closed already is harmless.
func (c *claim) Close() {
	for _, listeners := range [][]net.Listener{c.client, c.peer, c.metrics} {
		for _, l := range listeners {
			_ = l.Close()
		}
	}
}

// listenError says in the user's terms why an address cannot be listened on.
func listenError(flag, address string, err error) error {
	way := "give another URL"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		way = "stop what listens there, or give another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		way = "give an address of this machine"
	case errors.Is(err, syscall.EACCES):
		way = "give a port above 1023, or the right to use lower ones"
	}
	if number := syscall.Errno(0); errors.As(err, &number) {
		err = number
	}
	return fmt.Errorf("%s: listen on %s: %w; %s", flag, address, err, way)
}
