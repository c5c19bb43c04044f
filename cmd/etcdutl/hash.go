package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"cairn/internal/backup"
	"cairn/internal/machine"
)

// argument checks a command's argument.
type argument func(path string) error

func dataArgument(string) error { return nil }

func snapshotArgument(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory, want a snapshot file: use `etcdutl hashkv`", path)
	}
	return err
}

// hashResult is the JSON of hashkv.
type hashResult struct {
	Hash            uint32 `json:"hash"`
	HashRevision    int64  `json:"hashRevision"`
	CompactRevision int64  `json:"compactRevision"`
}

func (t *tool) hashKV(use, short string, check argument) *cobra.Command {
	var revision int64
	cmd := &cobra.Command{
		Use: use, Short: short, Args: exactly(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if err := check(args[0]); err != nil {
				return err
			}
			c, err := whenFree(t, func() (*backup.Content, error) { return backup.OpenContent(args[0]) })
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			// The same as `etcdctl endpoint hashkv` shows of a running member.
			h, err := c.Machine().Keys().HashKeys(revision, func() error { return nil })
			if err != nil {
				return fmt.Errorf("%s: hash as of revision %d, the last one is %d: %w", args[0], revision, c.Machine().Keys().Head().Revision, err)
			}
			if h.CompactRevision == 0 {
				h.CompactRevision = -1
			}
			return t.print(hashResult{h.Sum, h.Revision, h.CompactRevision},
				column{title: "HASH", field: "Hash", value: h.Sum},
				column{title: "HASH REVISION", field: "HashRevision", value: h.Revision},
				column{title: "COMPACT REVISION", field: "CompactRevision", value: h.CompactRevision})
		},
	}
	cmd.Flags().Int64Var(&revision, "rev", 0, "maximum revision to hash (default: latest revision)")
	return cmd
}

func (t *tool) defrag() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "defrag", Short: "Does nothing: cairn's store needs no defragmentation", Args: exactly(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(t.out, "nothing to defragment: the store frees space automatically")
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "", "data directory; not read")
	return cmd
}

func (t *tool) migrate() *cobra.Command {
	var dir, target string
	var force bool
	cmd := &cobra.Command{
		Use: "migrate", Short: "Does nothing: the on-disk format is migrated when a member starts", Args: exactly(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(t.out, "nothing to migrate: a member migrates its data directory when it starts")
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "", "data directory; not changed")
	cmd.Flags().StringVar(&target, "target-version", "", "version; not used")
	cmd.Flags().BoolVar(&force, "force", false, "not used: nothing can fail")
	return cmd
}

func (t *tool) check() *cobra.Command {
	return &cobra.Command{
		Use: "check <snapshot or data directory>", Short: "Verifies every checksum and the tables against each other", Args: exactly(1),
		Long: "Reads all of a stopped member's data directory, or of a snapshot, and compares the tables: counts against keys,\n" +
			"keys of leases against records, deadlines against leases. The first fault is printed, and the exit status is 1.",
		RunE: func(_ *cobra.Command, args []string) error {
			found, err := whenFree(t, func() (machine.Verified, error) { return backup.Check(args[0]) })
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(t.out, "%s is consistent: revision %d, %d keys, %d leases\n", args[0], found.Revision, found.Keys, found.Leases)
			return err
		},
	}
}
