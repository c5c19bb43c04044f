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
	Path: "backup", Short: "back up the data directory of a member",
	Long: "The member may be running or stopped. The backup is consistent, has the keys of both APIs, and is a cluster of one member with new\n" +
		"IDs. Start it with `etcd --force-new-cluster --data-dir BACKUP`.",
	Example: "$ etcdctl backup --data-dir default.etcd --backup-dir backup.etcd",
	Flags: func(flags *pflag.FlagSet) {
		flags.String("data-dir", "", "data `directory` of the member")
		flags.String("backup-dir", "", "`directory` of the backup, which must not exist")
		flags.String("wal-dir", "", "not supported: the log is below --data-dir")
		flags.String("backup-wal-dir", "", "not supported: the log is below --backup-dir")
		flags.Bool("with-v3", true, "include the keys of the v3 API (always included)")
	},
	Run: runBackup,
}

// backupPeerURL is the peer URL of the member of a backup until `member update` changes it, as in
// etcd.
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
			return plain("backup: --%s is not supported: the log is below the data directory", flag)
		}
	}
	// The IDs are random: a backup must not join the cluster that it was made from, nor the cluster
	// of another backup.
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
			panic(err) // crypto/rand never fails
		}
		if id := binary.BigEndian.Uint64(b[:]); id != 0 {
			return id
		}
	}
}
