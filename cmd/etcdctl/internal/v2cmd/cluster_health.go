package v2cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

// healthPause is how long --forever waits between two rounds.
const healthPause = 10 * time.Second

// healthBytesMax is the maximum size of a health response.
const healthBytesMax = 64 << 10

var clusterHealthCommand = cli.Command{
	Path:  "cluster-health",
	Short: "check the health of every member",
	Long: "Exits with 0 if all are healthy, with 5 if one is not or cannot be reached, and with 4 if the list of members cannot be\n" +
		"read. A cluster with some unhealthy members is degraded.",
	Example: "$ etcdctl cluster-health\nmember 8e9e05c52164694d is healthy: got healthy result from http://localhost:2379\ncluster is healthy",
	Flags: func(flags *pflag.FlagSet) {
		flags.BoolP("forever", "f", false, "check again every 10 seconds until interrupted (Ctrl-C)")
	},
	Run: func(s *cli.Session) error {
		ctx, stop := interruptible(s)
		defer stop()
		for {
			healthy, err := round(ctx, s)
			switch {
			case ctx.Err() != nil && s.Context.Err() == nil:
				return nil
			case err != nil:
				return err
			case !s.Bool("forever") && healthy:
				return nil
			case !s.Bool("forever"):
				return &cli.Exit{Code: exitUnhealthy}
			}
			fmt.Fprintf(s.Out, "\nnext check after 10 second...\n\n")
			select {
			case <-time.After(healthPause):
			case <-ctx.Done():
				return nil
			}
		}
	},
}

// round checks every member once and reports whether all are healthy. It gets the list of members
// from the given endpoints, without a sync.
func round(ctx context.Context, s *cli.Session) (healthy bool, err error) {
	c, err := connectAsGiven(s)
	if err != nil {
		return false, err
	}
	if s.Bool("debug") {
		fmt.Fprintf(s.Err, "Cluster-Endpoints: %s\n", joined(c))
	}
	listCtx, cancel := context.WithTimeout(ctx, value(s.Flags.GetDuration("total-timeout")))
	defer cancel()
	members, err := c.Members(listCtx)
	if err != nil {
		if ctx.Err() == nil {
			fmt.Fprintln(s.Out, "cluster may be unhealthy: failed to list members")
		}
		return false, unreachable(s, exitServer, err)
	}
	transport, err := transportOf(s)
	if err != nil {
		return false, err
	}
	asker := &http.Client{Transport: transport, Timeout: value(s.Flags.GetDuration("timeout"))}
	good := 0
	for _, m := range members {
		if checkMember(ctx, s, asker, m) {
			good++
		}
	}
	switch good {
	case len(members):
		fmt.Fprintln(s.Out, "cluster is healthy")
	case 0:
		fmt.Fprintln(s.Out, "cluster is unhealthy")
	default:
		fmt.Fprintln(s.Out, "cluster is degraded")
	}
	return good == len(members), nil
}

// checkMember checks one member at the first of its URLs that responds, and prints the result.
func checkMember(ctx context.Context, s *cli.Session, asker *http.Client, m v2client.Member) bool {
	if len(m.ClientURLs) == 0 {
		fmt.Fprintf(s.Out, "member %s is unreachable: no available published client urls\n", m.ID)
		return false
	}
	for _, url := range m.ClientURLs {
		healthy, err := askHealth(ctx, asker, url)
		switch {
		case err != nil:
			fmt.Fprintf(s.Out, "failed to check the health of member %s on %s: %v\n", m.ID, url, err)
			continue
		case healthy:
			fmt.Fprintf(s.Out, "member %s is healthy: got healthy result from %s\n", m.ID, url)
		default:
			fmt.Fprintf(s.Out, "member %s is unhealthy: got unhealthy result from %s\n", m.ID, url)
		}
		return healthy
	}
	fmt.Fprintf(s.Out, "member %s is unreachable: %v are all unreachable\n", m.ID, m.ClientURLs)
	return false
}

// askHealth requests /health, whose "health" is a string or, in some versions, a boolean.
func askHealth(ctx context.Context, asker *http.Client, url string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/health", nil)
	if err != nil {
		return false, err
	}
	resp, err := asker.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, healthBytesMax))
	if err != nil {
		return false, err
	}
	var said struct{ Health any }
	if err := json.Unmarshal(body, &said); err != nil {
		return false, fmt.Errorf("response %d is not about health: %w", resp.StatusCode, err)
	}
	return said.Health == "true" || said.Health == true, nil
}
