package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var endpointCommands = []cli.Command{
	{Path: "endpoint", Short: "Ask each endpoint by itself."},
	{
		Path: "endpoint health", Short: "ask each endpoint whether it can read from the cluster",
		Long:    "Exits with 1 when one of them cannot.",
		Example: "$ etcdctl endpoint health\n127.0.0.1:2379 is healthy: successfully committed proposal: took = 1.1ms",
		Flags:   clusterFlag, Run: endpointHealth,
	},
	{
		Path: "endpoint status", Short: "show what each endpoint says of itself",
		Long: "In the format simple: endpoint, ID, version, size of the data, whether it leads, whether it is a learner, Raft's term,\n" +
			"index and applied index, errors.",
		Example: "$ etcdctl endpoint status -w table",
		Flags:   clusterFlag, Run: endpointStatus,
	},
}

func clusterFlag(flags *pflag.FlagSet) {
	flags.Bool("cluster", false, "ask all members that --endpoints know of")
}

// asked returns the endpoints to ask and the configuration of a client for any of them.
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

// each asks the endpoints side by side and returns what they said in their order.
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

// health is how an endpoint is; its JSON is what scripts read.
type health struct {
	Endpoint string `json:"endpoint"`
	Health   bool   `json:"health"`
	Took     string `json:"took"`
	Error    string `json:"error,omitempty"`
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
		return health{Endpoint: endpoint, Error: err.Error()}
	})
	if err := p.print(healthAnswer(s, list)); err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(h health) bool { return h.Error != "" }) {
		return failf(exitError, "unhealthy cluster")
	}
	return nil
}

// checkHealth reads a key through the cluster. Not to be allowed to read it is as good an answer: a
// majority gave it.
func checkHealth(ctx context.Context, c *clientv3.Client, endpoint string) health {
	began := time.Now()
	_, err := c.Get(ctx, "health")
	h := health{Endpoint: endpoint, Health: true, Took: time.Since(began).String()}
	if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		h.Health, h.Error = false, err.Error()
	}
	return h
}

func healthAnswer(s *cli.Session, list []health) answer {
	return answer{
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

// status is what an endpoint says of itself.
type status struct {
	Endpoint string
	Status   *etcdserverpb.StatusResponse
	fault    error
}

func endpointStatus(s *cli.Session) error {
	p, err := begin(s, fields, jsonText, table)
	if err != nil {
		return err
	}
	endpoints, config, err := asked(s)
	if err != nil {
		return err
	}
	list := each(s, endpoints, config, func(ctx context.Context, c *clientv3.Client, endpoint string) status {
		r, err := c.Status(ctx, endpoint)
		return status{endpoint, (*etcdserverpb.StatusResponse)(r), err}
	}, func(endpoint string, err error) status { return status{endpoint, nil, err} })
	var answered []status
	for _, st := range list {
		if st.fault != nil {
			fmt.Fprintf(s.Err, "Failed to get the status of endpoint %s (%v)\n", st.Endpoint, st.fault)
			continue
		}
		answered = append(answered, st)
	}
	if err := p.print(statusAnswer(answered)); err != nil {
		return err
	}
	if len(answered) < len(list) {
		return &cli.Exit{Code: exitError}
	}
	return nil
}

func statusAnswer(list []status) answer {
	rows := func() (header []string, rows [][]string) {
		for _, st := range list {
			r := st.Status
			rows = append(rows, []string{
				st.Endpoint, fmt.Sprintf("%x", r.Header.MemberId), r.Version, humanSize(r.DbSize),
				strconv.FormatBool(r.Leader == r.Header.MemberId), strconv.FormatBool(r.IsLearner),
				fmt.Sprint(r.RaftTerm), fmt.Sprint(r.RaftIndex), fmt.Sprint(r.RaftAppliedIndex), strings.Join(r.Errors, ", "),
			})
		}
		return []string{
			"ENDPOINT", "ID", "VERSION", "DB SIZE", "IS LEADER", "IS LEARNER", "RAFT TERM", "RAFT INDEX", "RAFT APPLIED INDEX", "ERRORS",
		}, rows
	}
	return answer{
		json: list, table: rows,
		simple: func(p *printer) {
			_, rows := rows()
			for _, row := range rows {
				fmt.Fprintln(p, strings.Join(row, ", "))
			}
		},
		fields: func(p *printer) {
			for _, st := range list {
				r := st.Status
				p.header(r.Header)
				fmt.Fprintf(p, "\"Version\" : %q\n\"DBSize\" : %d\n\"Leader\" : %d\n\"IsLearner\" : %t\n", r.Version, r.DbSize, r.Leader, r.IsLearner)
				fmt.Fprintf(p, "\"RaftIndex\" : %d\n\"RaftTerm\" : %d\n\"RaftAppliedIndex\" : %d\n", r.RaftIndex, r.RaftTerm, r.RaftAppliedIndex)
				fmt.Fprintf(p, "\"Errors\" : %v\n\"Endpoint\" : %q\n\n", r.Errors, st.Endpoint)
			}
		},
	}
}

// humanSize writes a number of bytes as people do: in thousands, with two digits or three.
func humanSize(bytes int64) string {
	if bytes < 10 {
		return fmt.Sprintf("%d B", bytes)
	}
	units, size := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}, float64(bytes)
	for size >= 1000 && len(units) > 1 {
		units, size = units[1:], size/1000
	}
	if size = float64(int64(size*10+0.5)) / 10; size < 10 {
		return fmt.Sprintf("%.1f %s", size, units[0])
	}
	return fmt.Sprintf("%.0f %s", size, units[0])
}
