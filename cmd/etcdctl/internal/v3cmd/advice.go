package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/reach"
)

// withAdvice returns a command whose error about an unreachable cluster is followed by a line for
// each endpoint: the cause, and what to do. The error's own line and the exit code do not change.
func withAdvice(run func(*cli.Session) error) func(*cli.Session) error {
	return func(s *cli.Session) error {
		err := run(s)
		var exit *cli.Exit
		if errors.As(err, &exit) && unreachable(exit.Err) && s.Context.Err() == nil {
			for _, line := range adviceLines(s, exit.Err) {
				exit.Message += "  " + line + "\n"
			}
		}
		return err
	}
}

// withNotice returns a command that waits for the cluster as long as it takes: while no endpoint
// can be reached, it prints why after --dial-timeout.
func withNotice(run func(*cli.Session) error) func(*cli.Session) error {
	return func(s *cli.Session) error {
		if err := environment(s); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(s.Context)
		var noticed sync.WaitGroup
		noticed.Go(func() { notice(ctx, s) })
		defer noticed.Wait()
		defer cancel()
		return run(s)
	}
}

func notice(ctx context.Context, s *cli.Session) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(value(s.Flags.GetDuration("dial-timeout"))):
	}
	endpoints, lines := diagnoseEndpoints(ctx, s)
	if len(lines) == 0 || len(lines) < len(endpoints) || ctx.Err() != nil {
		return
	}
	fmt.Fprintf(s.Err, "no endpoint can be reached; trying again until one can, or until interrupted:\n  %s\n", strings.Join(lines, "\n  "))
}

// unreachable reports whether an error may come from an endpoint that cannot be reached, or from a
// cluster without a leader.
func unreachable(err error) bool {
	switch {
	case err == nil:
		return false
	// gRPC's error for a connection that ended before it sent the request. A wrapped one is of the
	// standard input.
	case err == io.EOF: //nolint:errorlint // see above
		return true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errUnhealthy),
		errors.Is(err, rpctypes.ErrNoLeader), errors.Is(err, rpctypes.ErrTimeout), errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail),
		errors.Is(err, rpctypes.ErrTimeoutDueToConnectionLost):
		return true
	}
	var known rpctypes.EtcdError
	if errors.As(err, &known) { // the server's own error explains itself
		return known.Code() == codes.Unavailable || known.Code() == codes.DeadlineExceeded
	}
	code := grpcstatus.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// adviceLines diagnoses the endpoints of every cluster that the command uses.
func adviceLines(s *cli.Session, cause error) []string {
	if errors.Is(cause, rpctypes.ErrUnhealthy) {
		return unhealthyLines(s)
	}
	endpoints, lines := diagnoseEndpoints(s.Context, s)
	for _, other := range otherClusters(s) {
		endpoints = append(endpoints, other.endpoints...)
		lines = append(lines, diagnose(s.Context, s, other.endpoints, other.prefix)...)
	}
	if len(lines) == 0 && len(endpoints) > 0 {
		return []string{strings.Join(endpoints, ", ") + ": reachable and healthy: try again with a longer --command-timeout; check that this is a client port (2379), not a peer port (2380)"}
	}
	return lines
}

// unhealthyLines explains why a change of the members was refused as unhealthy: it names the voters
// that do not answer.
func unhealthyLines(s *cli.Session) []string {
	var members []*etcdserverpb.Member
	err := call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.MemberList(ctx)
		if err == nil {
			members = r.Members
		}
		return err
	})
	if err != nil {
		return nil
	}
	var lines []string
	for _, m := range members {
		switch {
		case m.IsLearner:
		case len(m.ClientURLs) == 0:
			lines = append(lines, fmt.Sprintf("member %x (%s) has not been started: start it or remove it", m.ID, strings.Join(m.PeerURLs, ",")))
		default:
			for _, line := range diagnose(s.Context, s, m.ClientURLs, "") {
				lines = append(lines, fmt.Sprintf("member %s (%x) is needed for this change: %s", m.Name, m.ID, line))
			}
		}
	}
	if len(lines) == 0 {
		return []string{"every voting member answers: the change is allowed once they have been connected to each other for 5 s; try again then"}
	}
	return lines
}

// The prefixes of the names of the options for another cluster.
const (
	fromPrefix = "from-"
	destPrefix = "dest-"
)

// otherCluster is a cluster besides that of --endpoints. The names of the options that tell how to
// connect to it have a prefix.
type otherCluster struct {
	endpoints []string
	prefix    string
}

func otherClusters(s *cli.Session) []otherCluster {
	switch {
	case s.Flags.Lookup("from-cacert") != nil:
		if from, err := fromOf(s); err == nil {
			return []otherCluster{{from, fromPrefix}}
		}
	case s.Flags.Lookup("dest-cacert") != nil && len(s.Args) == 1:
		return []otherCluster{{s.Args, destPrefix}}
	}
	return nil
}

// diagnoseEndpoints returns the endpoints, and a line for each that is not healthy.
func diagnoseEndpoints(ctx context.Context, s *cli.Session) (endpoints, lines []string) {
	endpoints, err := endpointsOf(s)
	if err != nil {
		return nil, nil
	}
	return endpoints, diagnose(ctx, s, endpoints, "")
}

// diagnose returns a line for each of the endpoints that is not healthy. The prefix is that of the
// options for their cluster.
func diagnose(ctx context.Context, s *cli.Session, endpoints []string, prefix string) []string {
	o := reach.Options{
		ForceTLS: !s.Bool(prefix + "insecure-transport"), HasCert: s.String(prefix+"cert") != "",
		CAOption: "--" + prefix + "cacert", CertOption: "--" + prefix + "cert", KeyOption: "--" + prefix + "key",
		Given:   map[string]string{"": "with --endpoints", fromPrefix: "with --from", destPrefix: "as the argument"}[prefix],
		Timeout: value(s.Flags.GetDuration("dial-timeout")),
	}
	var err error
	if o.TLS, err = tlsOf(s, endpoints, prefix); err != nil {
		return nil
	}
	if o.TLS != nil { // the client uses TLS for every endpoint that does not begin with http://
		o.ForceTLS = true
	}
	return reach.All(ctx, endpoints, o)
}

// clusterFault returns the error of a command that queries each endpoint. It is errUnhealthy, which
// causes a diagnosis of the endpoints, if an endpoint could not be reached.
func clusterFault(faults []error) error {
	if slices.ContainsFunc(faults, unreachable) {
		return errUnhealthy
	}
	return errors.Join(faults...)
}
