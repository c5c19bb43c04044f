package v2cmd

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/internal/backup"
	"cairn/internal/datadir"
	"cairn/internal/membership"
)

var backupCommand = cli.Command{
	Path: "backup", Short: "make a copy of a member's data directory, from which a new cluster can be started",
	Long: "The member may run or not. The copy is as of one moment and has keys of both APIs; its member is alone, and has other IDs, so that it " +
		"cannot be mistaken for the one it was made from. Start it with `etcd --force-new-cluster --data-dir BACKUP`.",
	Example: "$ etcdctl backup --data-dir default.etcd --backup-dir backup.etcd",
	Flags: func(flags *pflag.FlagSet) {
		flags.String("data-dir", "", "the data `directory` of the member")
		flags.String("backup-dir", "", "the `directory` to make")
		flags.String("wal-dir", "", "not supported: the log lives below --data-dir")
		flags.String("backup-wal-dir", "", "not supported: the log lives below --backup-dir")
		flags.Bool("with-v3", true, "also keys of the v3 API, which are in there in any case")
	},
	Run: runBackup,
}

// backupPeerURL is what a member that begins alone is recorded with until `member update` says
// otherwise, as in etcd.
const backupPeerURL = "http://localhost:2380"

func runBackup(s *cli.Session) error {
	source, target := s.String("data-dir"), s.String("backup-dir")
	switch {
	case source == "":
		return plain("backup: --data-dir names the directory to back up: give it")
	case target == "":
		return plain("backup: --backup-dir names the directory to make: give it")
	}
	for _, flag := range []string{"wal-dir", "backup-wal-dir"} {
		if s.String(flag) != "" {
			return plain("backup: --%s is not supported: the log lives below the data directory", flag)
		}
	}
	// The IDs are drawn: a copy must not have part in the cluster that it was made from, nor in
	// another copy's.
	id := datadir.Identity{MemberID: randomID(), ClusterID: randomID(), Created: time.Now()}
	t := backup.Target{
		Dir: target, Identity: id, Members: []membership.Member{{ID: id.MemberID, PeerURLs: []string{backupPeerURL}}},
	}
	if err := backup.FromDir(s.Context, source, t); err != nil {
		return plain("backup: %v", err)
	}
	return nil
}

func randomID() uint64 {
	var b [8]byte
	for {
		if _, err := rand.Read(b[:]); err != nil {
			panic(err) // it never fails
		}
		if id := binary.BigEndian.Uint64(b[:]); id != 0 {
			return id
		}
	}
}
