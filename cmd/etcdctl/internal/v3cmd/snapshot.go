package v3cmd

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/internal/backup"
	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/membership"
)

var snapshotCommands = []cli.Command{
	{
		Path: "snapshot", Short: "save, inspect and restore snapshots",
	},
	{
		Path: "snapshot save", Args: "<file>", Short: "save the state of one member in a file",
		Long:    "Works also while the cluster has no leader. With authentication on it needs a user with the role root. The file appears under its name when it is whole and has been checked.",
		Example: "$ ETCDCTL_API=3 etcdctl snapshot save backup.db\nSnapshot saved at backup.db",
		Run:     snapshotSave,
	},
	{
		Path: "snapshot status", Args: "<file>", Short: "check a file, and tell what is in it",
		Long:    "In the format simple: hash, revision, key-values of all tables, size.",
		Example: "$ ETCDCTL_API=3 etcdctl snapshot status backup.db\n63d291b5, 2, 14, 1.1 kB",
		Run:     snapshotStatus,
	},
	{
		Path: "snapshot restore", Args: "<file>", Short: "make the data directory of a member of a new cluster out of a file",
		Long: "Every member of the new cluster is restored from the same file with the same --initial-cluster and its own --name. " +
			"The new cluster has the keys with their history, leases, users and roles; its members, and their IDs, come from the options.",
		Example: "$ ETCDCTL_API=3 etcdctl snapshot restore backup.db --data-dir restored",
		Flags: func(flags *pflag.FlagSet) {
			flags.String("data-dir", "", "the `directory` to make; NAME.etcd when not given")
			flags.String("wal-dir", "", "not supported: the log lives below --data-dir")
			flags.String("name", "default", "the member's `name`")
			flags.String("initial-cluster", "default=http://localhost:2380", "the members of the new cluster: `NAME=URL[,NAME=URL…]`")
			flags.String("initial-cluster-token", "etcd-cluster", "tells clusters apart that are founded with the same URLs: a `text`")
			flags.String("initial-advertise-peer-urls", "http://localhost:2380", "where other members reach this one: `URLS`")
			flags.Bool("skip-hash-check", false, "do not compare the file's SHA-256; each block's checksum is compared all the same")
			flags.Uint64("bump-revision", 0, "move the revision on by `n`, beyond what clients may have seen (with --mark-compacted)")
			flags.Bool("mark-compacted", false, "compact to the revision restored, so that watches and caches begin anew (with --bump-revision)")
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
		return failf(exitArgs, "snapshot save takes the state of one member, and --endpoints names %d: give one", len(endpoints))
	}
	c, err := connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	// It takes as long as it takes: --command-timeout is for what is short by its nature.
	stream, err := c.Snapshot(s.Context)
	if err != nil {
		return fail(exitError, err)
	}
	_, err = backup.Save(path, stream)
	if err = errors.Join(err, stream.Close()); err != nil {
		return fail(exitInterrupted, err)
	}
	fmt.Fprintf(s.Out, "Snapshot saved at %s\n", path)
	return nil
}

// snapshotInfo is a snapshot's status as JSON has it.
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
	row := []string{fmt.Sprintf("%x", info.Hash), fmt.Sprint(info.Revision), fmt.Sprint(info.TotalKey), humanSize(info.TotalSize)}
	return p.print(answer{
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
	return nil
}

// restoreTarget is what the options ask for. IDs are computed as etcd does when it founds a
// cluster, so that all members that are restored alike agree on them.
func restoreTarget(s *cli.Session) (t backup.Target, err error) {
	if s.String("wal-dir") != "" {
		return t, errors.New("--wal-dir is not supported: the log lives below --data-dir, where a mount or a symbolic link can take its place")
	}
	bump := s.Uint64("bump-revision")
	t.MarkCompacted = s.Bool("mark-compacted")
	switch {
	case bump > 0 != t.MarkCompacted:
		return t, errors.New("--bump-revision and --mark-compacted are given together: a revision that nothing led to must not be looked for in the history")
	case bump > 1<<62:
		return t, fmt.Errorf("--bump-revision=%d: want at most %d", bump, int64(1)<<62)
	}
	t.BumpRevision = int64(bump)
	c := config.Config{Name: s.String("name"), InitialCluster: s.String("initial-cluster")}
	if c.InitialAdvertisePeerURLs, err = config.ParseURLs(s.String("initial-advertise-peer-urls")); err != nil {
		return t, fmt.Errorf("--initial-advertise-peer-urls: %w", err)
	}
	founders, err := c.Founders()
	if err != nil {
		return t, err
	}
	t.Identity = datadir.Identity{Name: c.Name, Created: time.Now()}
	var ids []uint64
	for _, f := range founders {
		urls := f.PeerURLs.Strings()
		m := membership.Member{ID: membership.MemberID(urls, s.String("initial-cluster-token")), PeerURLs: urls}
		if f.Name == c.Name {
			t.Identity.MemberID = m.ID
		}
		t.Members, ids = append(t.Members, m), append(ids, m.ID)
	}
	t.Identity.ClusterID = membership.ClusterID(ids)
	if t.Dir = s.String("data-dir"); t.Dir == "" {
		t.Dir = c.Name + ".etcd"
	}
	return t, nil
}
