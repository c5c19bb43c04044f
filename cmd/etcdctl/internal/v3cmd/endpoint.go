package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var endpointCommands = []cli.Command{
	{Path: "endpoint", Short: "Query single endpoints."},
	{
		Path: "endpoint health", Short: "check the health of each endpoint",
		Long:    "Each endpoint has to serve a linearizable read. Exits with 1 if one cannot.",
		Example: "$ etcdctl endpoint health\n127.0.0.1:2379 is healthy: successfully committed proposal: took = 1.1ms",
		Flags:   clusterFlag, Run: endpointHealth,
	},
	{
		Path: "endpoint status", Short: "print the status of each endpoint",
		Long: "In the format simple: endpoint, ID, version, storage version, database size, size in use, percentage not in use, quota,\n" +
			"is leader, is learner, raft term, raft index, raft applied index, errors, downgrade target version, downgrade enabled.",
		Example: "$ etcdctl endpoint status -w table",
		Flags:   clusterFlag, Run: endpointStatus,
	},
}

func clusterFlag(flags *pflag.FlagSet) {
	flags.Bool("cluster", false, "query all members of the cluster, as listed by the --endpoints")
}

// asked returns the endpoints to query and the configuration of a client for any of them.
func asked(s *cli.Session) (endpoints []string, config clientv3.Config, err error) {
	if endpoints, err = endpointsOf(s); err != nil {
		return nil, config, err
	}
	if config, err = configOf(s, endpoints); err != nil {
		return nil, config, err
	}
	if !s.Bool("cluster") {
		return endpoints, config, nil
	}
	c, err := open(config)
	if err != nil {
		return nil, config, err
	}
	defer c.Close()
	ctx, cancel := limited(s)
	defer cancel()
	list, err := c.MemberList(ctx)
	if err != nil {
		return nil, config, failf(exitError, "failed to fetch endpoints from etcd cluster member list: %w", err)
	}
	endpoints = nil
	for _, m := range list.Members {
		endpoints = append(endpoints, m.ClientURLs...)
	}
	slices.Sort(endpoints)
	return slices.Compact(endpoints), config, nil
}

// each queries the endpoints concurrently and returns the results in the order of the endpoints.
func each[T any](s *cli.Session, endpoints []string, config clientv3.Config, ask func(context.Context, *clientv3.Client, string) T, broken func(string, error) T) []T {
	said := make([]T, len(endpoints))
	var all sync.WaitGroup
	for i, endpoint := range endpoints {
		all.Go(func() {
			own := config
			own.Endpoints = []string{endpoint}
			c, err := clientv3.New(own)
			if err != nil {
				said[i] = broken(endpoint, err)
				return
			}
			defer c.Close()
			ctx, cancel := limited(s)
			defer cancel()
			said[i] = ask(ctx, c, endpoint)
		})
	}
	all.Wait()
	return said
}

// health is the health of an endpoint. Scripts read its JSON.
type health struct {
	Endpoint string `json:"endpoint"`
	Health   bool   `json:"health"`
	Took     string `json:"took"`
	Error    string `json:"error,omitempty"`
	fault    error
}

func endpointHealth(s *cli.Session) error {
	p, err := begin(s, fields, jsonText, table)
	if err != nil {
		return err
	}
	endpoints, config, err := asked(s)
	if err != nil {
		return err
	}
	list := each(s, endpoints, config, checkHealth, func(endpoint string, err error) health {
		return health{Endpoint: endpoint, Error: err.Error(), fault: err}
	})
	if err := p.print(healthResponse(s, list)); err != nil {
		return err
	}
	var faults []error
	for _, h := range list {
		if h.fault != nil {
			faults = append(faults, h.fault)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &cli.Exit{Code: exitError, Message: fmt.Sprintf("Error: %v\n", errUnhealthy), Err: clusterFault(faults)}
}

// checkHealth reads a key with a linearizable read. "Permission denied" counts as healthy: the
// member has reached a quorum to say so.
func checkHealth(ctx context.Context, c *clientv3.Client, endpoint string) health {
	began := time.Now()
	_, err := c.Get(ctx, "health")
	h := health{Endpoint: endpoint, Health: true, Took: time.Since(began).String()}
	if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		h.Health, h.Error, h.fault = false, err.Error(), err
	}
	return h
}

// errUnhealthy is the error of endpoint health.
var errUnhealthy = errors.New("unhealthy cluster")

func healthResponse(s *cli.Session, list []health) response {
	return response{
		json: list,
		simple: func(p *printer) {
			for _, h := range list {
				if h.Error == "" {
					fmt.Fprintf(p, "%s is healthy: successfully committed proposal: took = %s\n", h.Endpoint, h.Took)
				} else {
					fmt.Fprintf(s.Err, "%s is unhealthy: failed to commit proposal: %s\n", h.Endpoint, h.Error)
				}
			}
		},
		fields: func(p *printer) {
			for _, h := range list {
				fmt.Fprintf(p, "\"Endpoint\" : %q\n\"Health\" : %t\n\"Took\" : %s\n\"Error\" : %s\n\n", h.Endpoint, h.Health, h.Took, h.Error)
			}
		},
		table: func() (header []string, rows [][]string) {
			for _, h := range list {
				rows = append(rows, []string{h.Endpoint, strconv.FormatBool(h.Health), h.Took, h.Error})
			}
			return []string{"ENDPOINT", "HEALTH", "TOOK", "ERROR"}, rows
		},
	}
}

// responses queries the endpoints and returns what they returned, and the errors of the others,
// which it prints; what names the thing that they are asked for.
func responses[T any](s *cli.Session, what string, ask func(context.Context, *clientv3.Client, string) (T, error)) (got []T, faults []error, err error) {
	endpoints, config, err := asked(s)
	if err != nil {
		return nil, nil, err
	}
	type outcome struct {
		value T
		err   error
	}
	list := each(s, endpoints, config, func(ctx context.Context, c *clientv3.Client, endpoint string) outcome {
		value, err := ask(ctx, c, endpoint)
		return outcome{value, err}
	}, func(_ string, err error) outcome { return outcome{err: err} })
	for i, o := range list {
		if o.err != nil {
			fmt.Fprintf(s.Err, "Failed to get the %s of endpoint %s (%v)\n", what, endpoints[i], o.err)
			faults = append(faults, o.err)
			continue
		}
		got = append(got, o.value)
	}
	return got, faults, nil
}

// status is the status that an endpoint reported.
type status struct {
	Endpoint string
	Status   *etcdserverpb.StatusResponse
}

func endpointStatus(s *cli.Session) error {
	p, err := begin(s, fields, jsonText, table)
	if err != nil {
		return err
	}
	responded, faults, err := responses(s, "status", func(ctx context.Context, c *clientv3.Client, endpoint string) (status, error) {
		r, err := c.Status(ctx, endpoint)
		return status{endpoint, (*etcdserverpb.StatusResponse)(r)}, err
	})
	if err != nil {
		return err
	}
	if err := p.print(statusResponse(responded)); err != nil {
		return err
	}
	if len(faults) > 0 {
		return &cli.Exit{Code: exitError, Err: clusterFault(faults)}
	}
	return nil
}
