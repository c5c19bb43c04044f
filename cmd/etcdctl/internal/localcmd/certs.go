package localcmd

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/internal/certs"
)

var certsCommands = []cli.Command{
	{Path: "certs", Short: "Issue certificates for a cluster.", Beyond: true},
	{
		Path: "certs init", Short: "create a certificate authority", Beyond: true,
		Long:    "Writes ca.crt and ca.key (ECDSA P-256) to --dir. Keep ca.key secret: its holder can issue certificates for the cluster.",
		Example: "$ etcdctl certs init\nwrote certs/ca.crt, certs/ca.key (valid until 2036-11-26)",
		Flags: func(flags *pflag.FlagSet) {
			certsFlags(flags, caDays)
			flags.String("name", "etcd CA", "common `name` of the authority")
		},
		Run: certsInit,
	},
	{
		Path: "certs server", Args: "[name]...", Short: "issue certificates with which members serve clients", Beyond: true,
		Long: "Writes NAME-server.crt and NAME-server.key for each member named or, without names, for each member of --initial-cluster.\n" +
			"A certificate is valid for the member's hosts in --initial-cluster, for --hosts, and for localhost.",
		Example: "$ etcdctl certs server --initial-cluster n1=https://10.0.0.1:2380,n2=https://10.0.0.2:2380\n" +
			"wrote certs/n1-server.crt, certs/n1-server.key (valid until 2027-11-29 for localhost, 127.0.0.1, ::1, 10.0.0.1)",
		Flags: memberCertsFlags, Run: func(s *cli.Session) error { return issueForMembers(s, serverUse) },
	},
	{
		Path: "certs peer", Args: "[name]...", Short: "issue certificates with which members authenticate to each other", Beyond: true,
		Long: "Writes NAME-peer.crt and NAME-peer.key for each member named or, without names, for each member of --initial-cluster.\n" +
			"A certificate is valid for the member's hosts in --initial-cluster and for --hosts.",
		Example: "$ etcdctl certs peer --initial-cluster n1=https://10.0.0.1:2380,n2=https://10.0.0.2:2380",
		Flags:   memberCertsFlags, Run: func(s *cli.Session) error { return issueForMembers(s, peerUse) },
	},
	{
		Path: "certs client", Args: "<user>", Short: "issue a certificate with which a client authenticates", Beyond: true,
		Long:    "Writes USER-client.crt and USER-client.key. With --client-cert-auth the server takes the common name as the user.",
		Example: "$ etcdctl certs client root\nwrote certs/root-client.crt, certs/root-client.key (valid until 2027-11-29)",
		Flags:   func(flags *pflag.FlagSet) { certsFlags(flags, leafDays) },
		Run: func(s *cli.Session) error {
			if len(s.Args) != 1 {
				return failf(exitArgs, "certs client needs the name of a user as its only argument")
			}
			return issue(s, clientUse, s.Args[0], nil)
		},
	},
}

// Default validity of a CA and of the certificates that it issues.
const (
	caDays   = 3650
	leafDays = 365
)

func certsFlags(flags *pflag.FlagSet, days int64) {
	flags.String("dir", "certs", "`directory` of the certificates and keys")
	flags.Int64("days", days, "`days` until the certificate expires")
	flags.Bool("force", false, "replace existing files")
}

// daysMax is what --days may be: the time of a certificate has four digits for the year.
const daysMax = 1_000_000

// validity returns the present time, and the end of --days.
func validity(s *cli.Session) (now, end time.Time, err error) {
	days := s.Int64("days")
	if days < 1 || days > daysMax {
		return now, end, failf(exitArgs, "--days: %d is not a number of days from 1 to %d", days, daysMax)
	}
	now = time.Now()
	return now, now.AddDate(0, 0, int(days)), nil
}

func memberCertsFlags(flags *pflag.FlagSet) {
	certsFlags(flags, leafDays)
	flags.String("initial-cluster", "", "members with their peer URLs, `NAME=URL[,NAME=URL…]`, as given to etcd")
	flags.StringSlice("hosts", nil, "further `hosts` that the certificate is valid for: names or IP addresses, separated by commas")
}

func certsInit(s *cli.Session) error {
	if len(s.Args) != 0 {
		return failf(exitArgs, "certs init takes no arguments")
	}
	now, end, err := validity(s)
	if err != nil {
		return err
	}
	a, err := newAuthority(s.String("name"), now, end)
	if err != nil {
		return failf(1, "create the authority: %w", err)
	}
	return writePair(s, a, filepath.Join(s.String("dir"), "ca"), nil)
}

// issueForMembers issues a certificate for each member of the command line.
func issueForMembers(s *cli.Session, u use) error {
	members, err := membersOf(s.String("initial-cluster"))
	if err != nil {
		return failf(exitArgs, "--initial-cluster: %w", err)
	}
	names := s.Args
	if len(names) == 0 {
		for _, m := range members {
			names = append(names, m.name)
		}
	}
	if len(names) == 0 {
		return failf(exitArgs, "certs %s needs the names of members, or --initial-cluster", u.suffix)
	}
	extra, _ := s.Flags.GetStringSlice("hosts")
	for _, name := range names {
		hosts := slices.Clone(u.hosts)
		for _, m := range members {
			if m.name == name {
				hosts = append(hosts, m.hosts...)
			}
		}
		hosts = append(hosts, extra...)
		if len(hosts) == 0 {
			return failf(exitArgs, "certs %s: no host of member %q is known: name it in --initial-cluster, or give --hosts", u.suffix, name)
		}
		if err := issue(s, u, name, unique(hosts)); err != nil {
			return err
		}
	}
	return nil
}

// issue issues one certificate.
func issue(s *cli.Session, u use, name string, hosts []string) error {
	if strings.ContainsAny(name, "/\\") || name == "" {
		return failf(exitArgs, "the name %q cannot be part of a file name", name)
	}
	dir := s.String("dir")
	a, err := readAuthority(dir)
	if err != nil {
		return failf(1, "%w: create an authority first (etcdctl certs init), or name its directory with --dir", err)
	}
	now, end, err := validity(s)
	if err != nil {
		return err
	}
	c, err := issueBy(a, u, name, hosts, now, end)
	if err != nil {
		return failf(1, "issue a certificate for %s: %w", name, err)
	}
	return writePair(s, c, filepath.Join(dir, name+"-"+u.suffix), hosts)
}

// writePair writes the certificate and the key, and prints the names of the files.
func writePair(s *cli.Session, p certs.Pair, base string, hosts []string) error {
	if err := save(p, base, s.Bool("force")); err != nil {
		return failf(1, "%w", err)
	}
	valid := ""
	if len(hosts) > 0 {
		valid = " for " + strings.Join(hosts, ", ")
	}
	fmt.Fprintf(s.Out, "wrote %s.crt, %s.key (valid until %s%s)\n", base, base, p.Cert.NotAfter.Format(time.DateOnly), valid)
	return nil
}

// clusterMember is a member of --initial-cluster.
type clusterMember struct {
	name  string
	hosts []string
}

// membersOf parses --initial-cluster.
func membersOf(text string) ([]clusterMember, error) {
	var members []clusterMember
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		name, raw, ok := strings.Cut(part, "=")
		u, err := url.Parse(raw)
		if !ok || name == "" || err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("%q: want NAME=URL[,NAME=URL…]", part)
		}
		i := slices.IndexFunc(members, func(m clusterMember) bool { return m.name == name })
		if i < 0 {
			i, members = len(members), append(members, clusterMember{name: name})
		}
		members[i].hosts = append(members[i].hosts, u.Hostname())
	}
	return members, nil
}

// unique removes repeated hosts and writes IP addresses in their shortest form.
func unique(hosts []string) []string {
	var list []string
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			host = ip.String()
		}
		if !slices.Contains(list, host) {
			list = append(list, cmp.Or(host, "localhost"))
		}
	}
	return list
}
