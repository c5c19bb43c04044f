package v3cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/migrate"
	"cairn/internal/migration"
)

var migrateCommand = cli.Command{
	Path: "migrate", Args: "[status|finish]", Short: "take over a running etcd: load its content, follow its changes, and change over",
	Long: "Without an argument: the cluster of --endpoints, which must be new, gets the keys of the old cluster with their revisions and\n" +
		"history, leases, users and roles, and every later change under the same revision. It serves reads and watches, but refuses\n" +
		"writes. Runs until `etcdctl migrate finish`; interrupted, the same command goes on where it was. While authentication is on,\n" +
		"both clusters need a user with the role root.\n\n" +
		"status: how far it is. With --from the old cluster is asked for its revision, otherwise the last one reported is shown.\n\n" +
		"finish: compares all keys as of one revision, has the old cluster refuse writes by the alarm CORRUPT, takes the last changes,\n" +
		"leases and users, and has the new cluster take writes. If anything differs, the alarm is cleared and the new cluster stays\n" +
		"closed. To go back to the old cluster afterwards: `etcdctl alarm disarm` there.",
	Example: "$ etcdctl --endpoints http://new:2379 migrate --from https://old1:2379,https://old2:2379 --from-cacert ca.pem &\n" +
		"$ etcdctl --endpoints http://new:2379 migrate status\n" +
		"phase: following\nfrom: https://old1:2379,https://old2:2379, cluster cdf818194e3a8c32\nrevision: 1204 of 1204, 0 behind\n" +
		"$ etcdctl --endpoints http://new:2379 migrate finish --from https://old1:2379 --from-cacert ca.pem",
	Flags: func(flags *pflag.FlagSet) {
		flags.StringSlice("from", nil, "`endpoints` of the old cluster")
		flags.String("from-user", "", "authenticate to the old cluster as `user[:password]`; asks for the password if it is missing")
		flags.String("from-password", "", "`password` of --from-user")
		flags.String("from-cert", "", "client certificate `file` for the old cluster")
		flags.String("from-key", "", "key `file` of that certificate")
		flags.String("from-cacert", "", "verify the old cluster's certificates with the CA certificates in this `file`")
		flags.Bool("from-insecure-transport", true, "connect to the old cluster without TLS if its endpoints have no scheme; =false uses TLS")
		flags.Bool("from-insecure-skip-tls-verify", false, "do not verify the old cluster's certificates (for tests only)")
		flags.String("snapshot-dir", "", "`directory` for the old cluster's snapshot while it is read (default $TMPDIR or /tmp)")
		flags.Bool("no-fence", false, "finish: raise no alarm in the old cluster, whose clients are stopped")
	},
	Run: runMigrate, Beyond: true,
	Complete: func(*cli.Session) []string { return []string{"status", "finish"} },
}

func runMigrate(s *cli.Session) error {
	if _, err := begin(s, jsonText); err != nil {
		return err
	}
	switch {
	case len(s.Args) == 0:
		return migrateStart(s)
	case len(s.Args) == 1 && s.Args[0] == "status":
		return migrateStatus(s)
	case len(s.Args) == 1 && s.Args[0] == "finish":
		return migrateFinish(s)
	default:
		return failf(exitArgs, "migrate %s: want no argument, status or finish", strings.Join(s.Args, " "))
	}
}

// fromOf returns the endpoints of --from.
func fromOf(s *cli.Session) ([]string, error) {
	from := slices.DeleteFunc(slices.Clone(value(s.Flags.GetStringSlice("from"))), func(e string) bool { return e == "" })
	if len(from) == 0 {
		return nil, failf(exitArgs, "--from: want the endpoints of the old cluster")
	}
	return from, nil
}

// withMigration runs a command on an opened migration. It is not limited by --command-timeout.
func withMigration(s *cli.Session, dir string, do func(ctx context.Context, m *migrate.Migration) error) error {
	from, err := fromOf(s)
	if err != nil {
		return err
	}
	config, err := configBy(s, from, "from-")
	if err != nil {
		return err
	}
	source, err := open(config)
	if err != nil {
		return err
	}
	defer source.Close()
	endpoints, err := endpointsOf(s)
	if err != nil {
		return err
	}
	target, err := configOf(s, endpoints)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(s)
	defer stop()
	progress := s.StartProgress(func(done int64, elapsed time.Duration) string { return "snapshot: " + cli.Rate(done, elapsed) })
	defer progress.Stop()
	m, err := migrate.Open(ctx, migrate.Options{
		Source: source, Endpoints: strings.Join(from, ","), Dir: dir,
		Target:     func() (*clientv3.Client, error) { return open(target) },
		Log:        func(format string, args ...any) { fmt.Fprintf(s.Err, format+"\n", args...) },
		Downloaded: func(n int) { progress.Add(int64(n)) },
	})
	if err != nil {
		return fail(exitError, err)
	}
	err = do(ctx, m)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = failf(exitInterrupted, "interrupted: the same command goes on")
	} else if err != nil {
		err = fail(exitError, err)
	}
	return errors.Join(err, m.Close())
}

func snapshotDir(s *cli.Session) string {
	if dir := s.String("snapshot-dir"); dir != "" {
		return dir
	}
	return os.TempDir()
}

func migrateStart(s *cli.Session) error {
	return withMigration(s, snapshotDir(s), func(ctx context.Context, m *migrate.Migration) error {
		if err := m.Run(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.Out, "The migration is finished: the new cluster takes writes.")
		return err
	})
}

func migrateFinish(s *cli.Session) error {
	return withMigration(s, snapshotDir(s), func(ctx context.Context, m *migrate.Migration) error {
		done, err := m.Finish(ctx, migrate.FinishOptions{KeepWriting: s.Bool("no-fence")})
		if err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "finished at revision %d with %d leases: the new cluster takes writes. No cluster took writes for %.3f s.\n",
			done.Revision, done.Leases, done.Gap.Seconds())
		if !s.Bool("no-fence") {
			fmt.Fprintf(s.Out, "The old cluster refuses writes (alarm CORRUPT). To go back to it: etcdctl --endpoints %s alarm disarm\n",
				strings.Join(value(s.Flags.GetStringSlice("from")), ","))
		}
		return nil
	})
}

// migrationStatus is the JSON of `migrate status`.
type migrationStatus struct {
	migration.Status
	SourceRevision int64 `json:"sourceRevision"`
	Behind         int64 `json:"behind"`
}

func migrateStatus(s *cli.Session) error {
	if len(value(s.Flags.GetStringSlice("from"))) == 0 {
		return call(s, func(ctx context.Context, c *clientv3.Client) error {
			st, err := migrate.Status(ctx, c)
			if err != nil {
				return fail(exitError, err)
			}
			return printMigration(s, migrationStatus{Status: st, SourceRevision: st.Seen})
		})
	}
	return withMigration(s, "", func(ctx context.Context, m *migrate.Migration) error {
		revision, err := m.SourceRevision(ctx)
		if err != nil {
			return err
		}
		st, err := m.Status(ctx)
		if err != nil {
			return err
		}
		return printMigration(s, migrationStatus{Status: st, SourceRevision: revision})
	})
}

func printMigration(s *cli.Session, st migrationStatus) error {
	if st.Phase == migration.Following || st.Phase == migration.Loading {
		st.SourceRevision = max(st.SourceRevision, st.Revision) // 0 before the first report
		st.Behind = max(0, st.SourceRevision-st.Revision)
	}
	if s.String("write-out") == "json" {
		return json.NewEncoder(s.Out).Encode(st)
	}
	fmt.Fprintf(s.Out, "phase: %s\n", st.Phase)
	if st.Phase == migration.None {
		return nil
	}
	fmt.Fprintf(s.Out, "from: %s, cluster %s\n", st.Endpoints, st.Source)
	switch st.Phase {
	case migration.Loading:
		fmt.Fprintf(s.Out, "keys as of revision %d: %d loaded\n", st.Base, st.Keys)
	case migration.Following:
		fmt.Fprintf(s.Out, "revision: %d of %d, %d behind\n", st.Revision, st.SourceRevision, st.Behind)
	default:
		fmt.Fprintf(s.Out, "revision: %d\n", st.Seen)
	}
	if st.Phase != migration.Finished && st.Idle > idleWarning.Seconds() {
		fmt.Fprintf(s.Out, "`etcdctl migrate` has reported nothing for %.0f s: is it running?\n", st.Idle)
	}
	return nil
}

// idleWarning is the time without a report after which the following program is considered dead; it
// reports every 5 s.
const idleWarning = 15 * time.Second
