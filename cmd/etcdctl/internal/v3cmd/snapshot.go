package v3cmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/internal/backup"
	"cairn/internal/version"
)

var snapshotCommands = []cli.Command{
	{
		Path: "snapshot", Short: "Save, inspect and restore snapshots.",
	},
	{
		Path: "snapshot save", Args: "<file>", Short: "save a snapshot of one member to a file",
		Long: "Works without a leader as well. With authentication enabled it requires a user with the role root. The file gets its name\n" +
			"after it is complete and its checksums have been verified. An existing file is replaced; on a terminal the command asks first.",
		Example: "$ ETCDCTL_API=3 etcdctl snapshot save backup.db\nSnapshot saved at backup.db\nServer version " + version.Cluster,
		Run:     snapshotSave,
	},
	{
		Path: "snapshot status", Args: "<file>", Short: "verify a snapshot file and print its status",
		Long:    "In the format simple: hash, revision, number of live keys, size of the file.",
		Example: "$ ETCDCTL_API=3 etcdctl snapshot status backup.db\n63d291b5, 2, 14, 1.1 kB",
		Run:     snapshotStatus,
	},
	{
		Path: "snapshot restore", Args: "<file>", Short: "create the data directory of a member of a new cluster from a snapshot",
		Long: "Restore every member of the new cluster from the same file, with the same --initial-cluster and its own --name. The new\n" +
			"cluster has the keys with their history, leases, users and roles of the snapshot; its members and IDs come from the options.",
		Example: "$ ETCDCTL_API=3 etcdctl snapshot restore backup.db --data-dir restored\n" +
			"restored backup.db to restored: member default (8e9e05c52164694d) of cluster cdf818194e3a8c32, 1 member",
		Flags: func(flags *pflag.FlagSet) {
			flags.String("data-dir", "", "`directory` to create (default NAME.etcd)")
			flags.String("wal-dir", "", "not supported: the log is below --data-dir")
			flags.String("name", "default", "`name` of the member")
			flags.String("initial-cluster", "default=http://localhost:2380", "members of the new cluster: `NAME=URL[,NAME=URL…]`")
			flags.String("initial-cluster-token", "etcd-cluster", "`text` that distinguishes new clusters with the same peer URLs")
			flags.String("initial-advertise-peer-urls", "http://localhost:2380", "peer `URLS` of this member")
			flags.Bool("skip-hash-check", false, "skip the comparison of the file's SHA-256; the checksum of each block is still verified")
			flags.Uint64("bump-revision", 0, "increase the revision by `n`, beyond revisions that clients may have seen (needs --mark-compacted)")
			flags.Bool("mark-compacted", false, "compact to the restored revision, so that watches and caches start again (needs --bump-revision)")
		},
		Run: snapshotRestore,
	},
}

func snapshotFile(s *cli.Session, complaint string) (string, error) {
	if len(s.Args) != 1 {
		return "", failf(exitArgs, "%s", complaint)
	}
	return s.Args[0], nil
}

// snapshotSave ends with the code of an interrupted command for any error but one in the command
// line, as etcdctl does.
func snapshotSave(s *cli.Session) error {
	path, err := snapshotFile(s, "snapshot save expects one argument")
	if err != nil {
		return err
	}
	if err := environment(s); err != nil {
		return err
	}
	endpoints, err := endpointsOf(s)
	if err != nil {
		return err
	}
	if len(endpoints) != 1 {
		return failf(exitInterrupted, "snapshot save takes the state of one member, and --endpoints names %d: give one", len(endpoints))
	}
	c, err := connect(s)
	if exit := (*cli.Exit)(nil); errors.As(err, &exit) && exit.Code == exitConnection {
		exit.Code = exitInterrupted
	}
	if err != nil {
		return err
	}
	defer c.Close()
	// A snapshot has no time limit, and would wait for an unreachable member.
	ctx, cancel := limited(s)
	defer cancel()
	if _, err := c.Status(ctx, endpoints[0]); err != nil {
		return fail(exitInterrupted, err)
	}
	if info, err := os.Stat(path); err == nil {
		question := fmt.Sprintf("%s exists (%s, written %s)", path, cli.FormatBytes(info.Size()), info.ModTime().Format(time.DateTime))
		if !s.Confirm(question + ": replace it?") {
			return failf(exitInterrupted, "%s: not replacing it: name another file", question)
		}
		fmt.Fprintf(s.Err, "%s: replacing it\n", question)
	}
	return snapshotTo(s, c, path)
}

// snapshotTo saves a snapshot. It is not limited by --command-timeout: a large one takes longer.
func snapshotTo(s *cli.Session, c *clientv3.Client, path string) error {
	r, err := c.SnapshotWithVersion(s.Context)
	if err != nil {
		return fail(exitInterrupted, err)
	}
	progress := s.StartProgress(func(done int64, elapsed time.Duration) string {
		return "saving " + path + ": " + cli.Rate(done, elapsed)
	})
	_, err = backup.Save(path, io.TeeReader(r.Snapshot, progress))
	progress.Stop()
	if err = errors.Join(err, r.Snapshot.Close()); err != nil {
		return fail(exitInterrupted, err)
	}
	fmt.Fprintf(s.Out, "Snapshot saved at %s\n", path)
	if r.Version != "" {
		fmt.Fprintf(s.Out, "Server version %s\n", r.Version)
	}
	return nil
}

// snapshotInfo is the status of a snapshot in JSON.
type snapshotInfo struct {
	Hash      uint32 `json:"hash"`
	Revision  int64  `json:"revision"`
	TotalKey  int64  `json:"totalKey"`
	TotalSize int64  `json:"totalSize"`
}

func snapshotStatus(s *cli.Session) error {
	path, err := snapshotFile(s, "snapshot status requires exactly one argument")
	if err != nil {
		return err
	}
	p, err := begin(s, fields, jsonText, table)
	if err != nil {
		return err
	}
	st, err := backup.ReadStatus(path)
	if err != nil {
		return fail(exitError, err)
	}
	info := snapshotInfo{st.Hash, st.Revision, st.TotalKeys, st.TotalSize}
	row := []string{fmt.Sprintf("%x", info.Hash), fmt.Sprint(info.Revision), fmt.Sprint(info.TotalKey), cli.FormatBytes(info.TotalSize)}
	return p.print(response{
		json: info,
		simple: func(p *printer) {
			fmt.Fprintf(p, "%s, %s, %s, %s\n", row[0], row[1], row[2], row[3])
		},
		fields: func(p *printer) {
			fmt.Fprintf(p, "\"Hash\" : %d\n\"Revision\" : %d\n\"Keys\" : %d\n\"Size\" : %d\n", info.Hash, info.Revision, info.TotalKey, info.TotalSize)
		},
		table: func() (header []string, rows [][]string) {
			return []string{"HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"}, [][]string{row}
		},
	})
}

func snapshotRestore(s *cli.Session) error {
	path, err := snapshotFile(s, "snapshot restore requires exactly one argument")
	if err != nil {
		return err
	}
	if err := environment(s); err != nil {
		return err
	}
	target, err := restoreTarget(s)
	if err != nil {
		return fail(exitArgs, err)
	}
	if err := backup.Restore(path, !s.Bool("skip-hash-check"), target); err != nil {
		return fail(exitError, err)
	}
	members := "1 member"
	if n := len(target.Members); n > 1 {
		members = fmt.Sprintf("%d members", n)
	}
	fmt.Fprintf(s.Out, "restored %s to %s: member %s (%x) of cluster %x, %s\n", path, target.Dir,
		target.Identity.Name, target.Identity.MemberID, target.Identity.ClusterID, members)
	return nil
}

// restoreTarget returns the data directory that the options describe.
func restoreTarget(s *cli.Session) (t backup.Target, err error) {
	if s.String("wal-dir") != "" {
		return t, errors.New("--wal-dir is not supported: the log is below --data-dir: use a mount or a symbolic link to put it on another disk")
	}
	return backup.NewTarget(backup.TargetOptions{
		Name: s.String("name"), DataDir: s.String("data-dir"), InitialCluster: s.String("initial-cluster"),
		InitialClusterToken: s.String("initial-cluster-token"), InitialAdvertisePeerURLs: s.String("initial-advertise-peer-urls"),
		BumpRevision: s.Uint64("bump-revision"), MarkCompacted: s.Bool("mark-compacted"),
	})
}
