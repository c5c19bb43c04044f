package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
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
			for _, line := range adviceLines(s) {
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

// adviceLines diagnoses the endpoints.
func adviceLines(s *cli.Session) []string {
	endpoints, lines := diagnoseEndpoints(s.Context, s)
	if len(lines) == 0 && len(endpoints) > 0 {
		return []string{strings.Join(endpoints, ", ") + ": reachable and healthy: try again with a longer --command-timeout; check that this is a client port (2379), not a peer port (2380)"}
	}
	return lines
}

// diagnoseEndpoints returns the endpoints, and a line for each that is not healthy.
func diagnoseEndpoints(ctx context.Context, s *cli.Session) (endpoints, lines []string) {
	endpoints, err := endpointsOf(s)
	if err != nil {
		return nil, nil
	}
	o := reach.Options{
		ForceTLS: !s.Bool("insecure-transport"), HasCert: s.String("cert") != "",
		CAOption: "--cacert", CertOption: "--cert", KeyOption: "--key",
	}
	if o.TLS, err = tlsOf(s, endpoints, ""); err != nil {
		return nil, nil
	}
	if o.TLS != nil { // the client uses TLS for every endpoint that does not begin with http://
		o.ForceTLS = true
	}
	return endpoints, reach.All(ctx, endpoints, o)
}

// clusterFault returns the error of a command that queries each endpoint. It is errUnhealthy, which
// causes a diagnosis of the endpoints, if an endpoint could not be reached.
func clusterFault(faults []error) error {
	if slices.ContainsFunc(faults, unreachable) {
		return errUnhealthy
	}
	return errors.Join(faults...)
}
