package v3cmd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/internal/discovery"
)

var discoveryCommands = []cli.Command{
	{Path: "discovery", Short: "let the members of a new cluster find each other", Beyond: true},
	{
		Path: "discovery new", Beyond: true,
		Short: "create a token, with which the members of a new cluster find each other",
		Long: `Any cluster is a discovery service for others. Prints the options to start each member of the new cluster with: those of etcd's
v3 protocol, and the URL of its v2 protocol. All members of a cluster must use the same protocol.`,
		Example: "$ etcdctl --endpoints http://10.0.0.9:2379 discovery new --size 3",
		Flags: func(flags *pflag.FlagSet) {
			flags.Int64("size", 3, "number of members")
			flags.String("token", "", "`token` to use; without it a random one")
		},
		Run: discoveryNew,
	},
	{
		Path: "discovery show", Args: "<token>", Beyond: true,
		Short:   "list the members that have registered with a token",
		Long:    "The argument is a token or a discovery URL. Prints member ID, name, peer URLs and protocol of each member, in the order in which they came.",
		Example: "$ etcdctl discovery show 7f0c… -w table",
		Run:     discoveryShow,
	},
}

// discoveryToken is what `discovery new` prints; its JSON is for scripts.
type discoveryToken struct {
	Token     string   `json:"token"`
	Size      int      `json:"size"`
	Endpoints []string `json:"endpoints"`
	URL       string   `json:"url"`
}

func discoveryNew(s *cli.Session) error {
	p, err := begin(s, jsonText)
	if err != nil {
		return err
	}
	if len(s.Args) > 0 {
		return failf(exitArgs, "discovery new takes no argument; the number of members goes into --size")
	}
	endpoints, err := endpointsOf(s)
	if err != nil {
		return err
	}
	d := discoveryToken{Token: s.String("token"), Size: int(s.Int64("size")), Endpoints: endpoints}
	if d.Token == "" {
		random := make([]byte, 16)
		_, _ = rand.Read(random) // never fails
		d.Token = hex.EncodeToString(random)
	}
	if err := discovery.CheckToken(d.Token); err != nil {
		return failf(exitArgs, "--token: %w", err)
	}
	d.URL = discovery.URLOfToken(withScheme(s, endpoints[0]), d.Token)
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		if err := discovery.Create(ctx, c, d.Token, d.Size); err != nil {
			return fail(exitError, err)
		}
		return p.print(response{json: d, simple: func(p *printer) {
			fmt.Fprintf(p, "--discovery-token %s --discovery-endpoints %s\n--discovery %s\n", d.Token, strings.Join(endpoints, ","), d.URL)
		}})
	})
}

// withScheme returns an endpoint as a URL.
func withScheme(s *cli.Session, endpoint string) string {
	if strings.Contains(endpoint, "://") {
		return endpoint
	}
	if config, err := tlsOf(s, nil, ""); err == nil && config != nil {
		return "https://" + endpoint
	}
	return "http://" + endpoint
}

// registeredMember is a line of `discovery show`; its JSON is for scripts.
type registeredMember struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	PeerURLs []string `json:"peer_urls"`
	Protocol string   `json:"protocol"`
	Late     bool     `json:"late"` // came when the cluster was full
}

func discoveryShow(s *cli.Session) error {
	p, err := begin(s, jsonText, table)
	if err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "discovery show needs a token as its only argument")
	}
	token := s.Args[0][strings.LastIndex(s.Args[0], "/")+1:]
	if err := discovery.CheckToken(token); err != nil {
		return fail(exitArgs, err)
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		size, found, err := discovery.Registrations(ctx, c, token)
		if err != nil {
			return fail(exitError, err)
		}
		list := make([]registeredMember, len(found))
		for i, r := range found {
			list[i] = registeredMember{ID: r.ID, Protocol: fmt.Sprintf("v%d", r.Protocol), Late: i >= size}
			for part := range strings.SplitSeq(r.Text, ",") {
				name, url, _ := strings.Cut(part, "=")
				list[i].Name, list[i].PeerURLs = name, append(list[i].PeerURLs, url)
			}
		}
		return p.print(registeredResponse(size, list))
	})
}

func registeredResponse(size int, list []registeredMember) response {
	rows := make([][]string, len(list))
	for i, m := range list {
		rows[i] = []string{m.ID, m.Name, strings.Join(m.PeerURLs, ","), m.Protocol}
		if m.Late {
			rows[i][3] += " (too late)"
		}
	}
	return response{
		json: struct {
			Size    int                `json:"size"`
			Members []registeredMember `json:"members"`
		}{size, slices.Concat([]registeredMember{}, list)},
		table: func() (header []string, content [][]string) {
			return []string{"ID", "NAME", "PEER ADDRS", "PROTOCOL"}, rows
		},
		simple: func(p *printer) {
			fmt.Fprintf(p, "%d of %d members have registered\n", min(len(list), size), size)
			for _, row := range rows {
				fmt.Fprintln(p, strings.Join(row, ", "))
			}
		},
	}
}
