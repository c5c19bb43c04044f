package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cairn/internal/backup"
	"cairn/internal/etcdfile"
	"cairn/internal/snapshot"
)

// targetFlags are the flags that describe a member of a new cluster.
type targetFlags struct {
	options backup.TargetOptions
	walDir  string
}

func (f *targetFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.options.DataDir, "data-dir", "", "path to the output data directory (default NAME.etcd)")
	flags.StringVar(&f.walDir, "wal-dir", "", "not supported: the log is below --data-dir")
	flags.StringVar(&f.options.Name, "name", "default", "human-readable name for this member")
	flags.StringVar(&f.options.InitialCluster, "initial-cluster", "default=http://localhost:2380", "initial cluster configuration for restore bootstrap")
	flags.StringVar(&f.options.InitialClusterToken, "initial-cluster-token", "etcd-cluster", "initial cluster token for the new cluster")
	flags.StringVar(&f.options.InitialAdvertisePeerURLs, "initial-advertise-peer-urls", "http://localhost:2380",
		"comma-separated list of this member's peer URLs to advertise to the rest of the cluster")
}

func (f *targetFlags) target() (backup.Target, error) {
	if f.walDir != "" {
		return backup.Target{}, usageError{errors.New("--wal-dir is not supported: the log is below --data-dir: use a mount or a symbolic link to put it on another disk")}
	}
	t, err := backup.NewTarget(f.options)
	if err != nil {
		return t, usageError{err}
	}
	return t, nil
}

func (t *tool) snapshotRestore() *cobra.Command {
	var flags targetFlags
	var skipHash bool
	cmd := &cobra.Command{
		Use: "restore <filename> --data-dir {output dir} [options]", Short: "Restores a member snapshot to a data directory", Args: exactly(1),
		Long: "Restores a snapshot of cairn, or of etcd 3.x, as the data directory of a member of a new cluster.\n" +
			"Restore every member from the same file, with the same --initial-cluster and its own --name.",
		RunE: func(_ *cobra.Command, args []string) error {
			to, err := flags.target()
			if err != nil {
				return err
			}
			if etcds, err := isEtcds(args[0]); err != nil {
				return err
			} else if etcds {
				if to.BumpRevision > 0 {
					return usageError{errors.New("--bump-revision works on snapshots of cairn: import the file first, then save a snapshot and restore that")}
				}
				return t.importFile(args[0], to, !skipHash)
			}
			if err := backup.Restore(args[0], !skipHash, to); err != nil {
				return err
			}
			return t.restored(args[0], to)
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().BoolVar(&skipHash, "skip-hash-check", false, "ignore the snapshot's SHA-256 (required for a file copied from a data directory)")
	cmd.Flags().Uint64Var(&flags.options.BumpRevision, "bump-revision", 0, "how much to increase the latest revision after restore")
	cmd.Flags().Uint64("initial-memory-map-size", 0, "not used: cairn's store is not mapped into memory")
	cmd.Flags().BoolVar(&flags.options.MarkCompacted, "mark-compacted", false,
		"mark the latest revision after restore as the point of a compaction (required with --bump-revision)")
	return cmd
}

func (t *tool) restored(from string, to backup.Target) error {
	_, err := fmt.Fprintf(t.out, "restored %s to %s: member %s (%x) of cluster %x\n", from, to.Dir, to.Identity.Name, to.Identity.MemberID, to.Identity.ClusterID)
	return err
}

// isEtcds reports whether a file is a database of etcd.
func isEtcds(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return etcdfile.IsDatabase(f), nil
}

// isCairns reports whether a file is a snapshot of cairn, complete or not.
func isCairns(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return snapshot.HasMagic(f), nil
}

// status is the JSON of `snapshot status`.
type status struct {
	Hash      uint32 `json:"hash"`
	Revision  int64  `json:"revision"`
	TotalKey  int64  `json:"totalKey"`
	TotalSize int64  `json:"totalSize"`
	Version   string `json:"version"`
}

func (t *tool) snapshotStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status <filename>", Short: "Gets backend snapshot status of a given file", Args: exactly(1),
		Long: "Verifies a snapshot of cairn or of etcd and prints its hash, revision, number of live keys, size and version.",
		RunE: func(_ *cobra.Command, args []string) error {
			etcds, err := isEtcds(args[0])
			if err != nil {
				return err
			}
			var s status
			if etcds {
				s, err = t.etcdStatus(args[0])
			} else {
				var st backup.Status
				st, err = backup.ReadStatus(args[0])
				s = status{st.Hash, st.Revision, st.TotalKeys, st.TotalSize, st.Version}
			}
			if err != nil {
				return err
			}
			return t.print(s,
				column{title: "HASH", field: "Hash", value: s.Hash, shown: fmt.Sprintf("%x", s.Hash)},
				column{title: "REVISION", field: "Revision", value: s.Revision},
				column{title: "TOTAL KEYS", field: "Keys", value: s.TotalKey},
				column{title: "TOTAL SIZE", field: "Size", value: s.TotalSize, shown: formatBytes(s.TotalSize)},
				column{title: "STORAGE VERSION", field: "Version", value: s.Version, shown: s.Version})
		},
	}
}

// etcdStatus reads a whole snapshot of etcd.
func (t *tool) etcdStatus(path string) (s status, err error) {
	f, err := whenFree(t, func() (*etcdfile.File, error) {
		f, err := etcdfile.Open(path, true)
		if errors.Is(err, etcdfile.ErrNoHash) { // a database that was copied from a data directory has a status, too
			return etcdfile.Open(path, false)
		}
		return f, err
	})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Status()
	return status{st.Hash, st.Revision, st.TotalKeys, f.Size(), st.Version}, err
}
