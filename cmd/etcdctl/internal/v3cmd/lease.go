package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var leaseCommands = []cli.Command{
	{Path: "lease", Short: "Grant, revoke, renew and list leases."},
	{
		Path: "lease grant", Args: "<seconds>", Short: "grant a lease",
		Example: "$ etcdctl lease grant 60\nlease 32695410dcc0ca06 granted with TTL(60s)", Run: leaseGrant,
	},
	{
		Path: "lease revoke", Args: "<ID>", Short: "revoke a lease and delete its keys",
		Example: "$ etcdctl lease revoke 32695410dcc0ca06\nlease 32695410dcc0ca06 revoked", Run: leaseRevoke,
	},
	{
		Path: "lease timetolive", Args: "<ID>", Short: "print the remaining time to live of a lease",
		Example: "$ etcdctl lease timetolive 32695410dcc0ca06 --keys\nlease 32695410dcc0ca06 granted with TTL(60s), remaining(48s), attached keys([/lock])",
		Flags: func(flags *pflag.FlagSet) {
			flags.Bool("keys", false, "print the keys attached to the lease")
		},
		Run: leaseTimeToLive,
	},
	{Path: "lease list", Short: "list the leases", Example: "$ etcdctl lease list\nfound 1 leases\n32695410dcc0ca06", Run: leaseList},
	{
		Path: "lease keep-alive", Args: "<ID>", Short: "keep a lease alive by renewing it",
		Long:    "Renews the lease until interrupted or until the lease has ended.",
		Example: "$ etcdctl lease keep-alive 32695410dcc0ca06\nlease 32695410dcc0ca06 keepalived with TTL(60)",
		Flags: func(flags *pflag.FlagSet) {
			flags.Bool("once", false, "renew the lease once and exit")
		},
		Run: leaseKeepAlive,
	},
}

// leaseArg returns the only argument, the ID of a lease.
func leaseArg(s *cli.Session, missing string) (clientv3.LeaseID, error) {
	if len(s.Args) != 1 {
		return 0, failf(exitArgs, "%s", missing)
	}
	id, err := parseLease(s.Args[0])
	if err != nil {
		return 0, failf(exitArgs, "bad lease ID arg (%w), expecting ID in Hex", err)
	}
	return id, nil
}

func leaseGrant(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "lease grant command needs TTL argument")
	}
	seconds, err := strconv.ParseInt(s.Args[0], 10, 64)
	if err != nil {
		return failf(exitArgs, "bad TTL (%w)", err)
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Grant(ctx, seconds)
		if err != nil {
			return failf(exitError, "failed to grant lease (%w)", err)
		}
		return p.print(response{
			json:   r,
			proto:  &etcdserverpb.LeaseGrantResponse{Header: r.ResponseHeader, ID: int64(r.ID), TTL: r.TTL, Error: r.Error},
			simple: func(p *printer) { fmt.Fprintf(p, "lease %016x granted with TTL(%ds)\n", r.ID, r.TTL) },
			fields: func(p *printer) {
				p.header(r.ResponseHeader)
				fmt.Fprintf(p, "\"ID\" : %s\n\"TTL\" : %d\n", p.leaseID(int64(r.ID)), r.TTL)
			},
		})
	})
}

func leaseRevoke(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	id, err := leaseArg(s, "lease revoke command needs 1 argument")
	if err != nil {
		return err
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Revoke(ctx, id)
		if err != nil {
			return failf(exitError, "failed to revoke lease (%w)", err)
		}
		m := (*etcdserverpb.LeaseRevokeResponse)(r)
		return p.print(response{
			json: m, proto: m,
			simple: func(p *printer) { fmt.Fprintf(p, "lease %016x revoked\n", id) },
			fields: func(p *printer) { p.header(m.Header) },
		})
	})
}

func leaseTimeToLive(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	id, err := leaseArg(s, "lease timetolive command needs lease ID as argument")
	if err != nil {
		return err
	}
	keys := s.Bool("keys")
	var opts []clientv3.LeaseOption
	if keys {
		opts = append(opts, clientv3.WithAttachedKeys())
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.TimeToLive(ctx, id, opts...)
		if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return fail(exitConnection, err) // the exit code that etcdctl uses here
		}
		return p.print(timeToLiveResponse(r, keys))
	})
}

func timeToLiveResponse(r *clientv3.LeaseTimeToLiveResponse, keys bool) response {
	return response{
		json: r,
		proto: &etcdserverpb.LeaseTimeToLiveResponse{
			Header: r.ResponseHeader, ID: int64(r.ID), TTL: r.TTL, GrantedTTL: r.GrantedTTL, Keys: r.Keys,
		},
		simple: func(p *printer) {
			if r.GrantedTTL == 0 && r.TTL == -1 {
				fmt.Fprintf(p, "lease %016x already expired\n", r.ID)
				return
			}
			fmt.Fprintf(p, "lease %016x granted with TTL(%ds), remaining(%ds)", r.ID, r.GrantedTTL, r.TTL)
			if keys {
				names := make([]string, len(r.Keys))
				for i, key := range r.Keys {
					names[i] = string(key)
				}
				fmt.Fprintf(p, ", attached keys(%v)", names)
			}
			fmt.Fprintln(p)
		},
		fields: func(p *printer) {
			p.header(r.ResponseHeader)
			fmt.Fprintf(p, "\"ID\" : %s\n\"TTL\" : %d\n\"GrantedTTL\" : %d\n", p.leaseID(int64(r.ID)), r.TTL, r.GrantedTTL)
			for _, key := range r.Keys {
				fmt.Fprintf(p, "\"Key\" : %q\n", string(key))
			}
		},
	}
}

func leaseList(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Leases(ctx)
		if err != nil {
			return fail(exitConnection, err)
		}
		m := &etcdserverpb.LeaseLeasesResponse{Header: r.ResponseHeader}
		for _, l := range r.Leases {
			m.Leases = append(m.Leases, &etcdserverpb.LeaseStatus{ID: int64(l.ID)})
		}
		return p.print(response{
			json: r, proto: m,
			simple: func(p *printer) {
				fmt.Fprintf(p, "found %d leases\n", len(r.Leases))
				for _, l := range r.Leases {
					fmt.Fprintf(p, "%016x\n", l.ID)
				}
			},
			fields: func(p *printer) {
				p.header(r.ResponseHeader)
				for _, l := range r.Leases {
					fmt.Fprintf(p, "\"ID\" : %s\n", p.leaseID(int64(l.ID)))
				}
			},
		})
	})
}

func leaseKeepAlive(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	id, err := leaseArg(s, "lease keep-alive command needs lease ID as argument")
	if err != nil {
		return err
	}
	c, err := connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	if s.Bool("once") {
		r, err := c.KeepAliveOnce(s.Context, id)
		if err != nil {
			return fail(exitConnection, err)
		}
		return p.print(keepAliveResponse(r))
	}
	responses, err := c.KeepAlive(s.Context, id)
	if err != nil {
		return fail(exitConnection, err)
	}
	for r := range responses {
		if err := p.print(keepAliveResponse(r)); err != nil {
			return err
		}
	}
	if p.format == simple {
		fmt.Fprintf(s.Out, "lease %016x expired or revoked.\n", id)
	}
	return nil
}

func keepAliveResponse(r *clientv3.LeaseKeepAliveResponse) response {
	return response{
		json:   r,
		proto:  &etcdserverpb.LeaseKeepAliveResponse{Header: r.ResponseHeader, ID: int64(r.ID), TTL: r.TTL},
		simple: func(p *printer) { fmt.Fprintf(p, "lease %016x keepalived with TTL(%d)\n", r.ID, r.TTL) },
		fields: func(p *printer) {
			p.header(r.ResponseHeader)
			fmt.Fprintf(p, "\"ID\" : %s\n\"TTL\" : %d\n", p.leaseID(int64(r.ID)), r.TTL)
		},
	}
}
