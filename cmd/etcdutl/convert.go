package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"cairn/internal/backup"
	"cairn/internal/datadir"
	"cairn/internal/etcdfile"
	"cairn/internal/machine"
)

func (t *tool) imports() *cobra.Command {
	var flags targetFlags
	var skipHash bool
	var walDir string
	var v2 bool
	cmd := &cobra.Command{
		Use: "import <etcd snapshot or data directory> --data-dir {output dir} [options]", Short: "Makes a data directory from a snapshot or a data directory of etcd", Args: exactly(1),
		Long: "Imports keys with their revisions and history, leases, users and roles of etcd 3.x. The new cluster has the members\n" +
			"that the options name. A data directory must be of a stopped member; its log is applied, too.\n" +
			"If it has no v3 keys, or is a backup by `etcdctl backup`, the v2 keys are imported, with their indexes and TTLs.",
		RunE: func(_ *cobra.Command, args []string) error {
			to, err := flags.target()
			if err != nil {
				return err
			}
			info, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			if info.IsDir() {
				return t.importDir(args[0], walDir, v2, to)
			}
			if v2 || walDir != "" {
				return usageError{fmt.Errorf("%s is a file: --v2 and --from-wal-dir need the data directory of a member, which has the v2 keys and the log", args[0])}
			}
			return t.importFile(args[0], to, !skipHash)
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().BoolVar(&skipHash, "skip-hash-check", false, "ignore the snapshot's SHA-256 (required for a file copied from a data directory)")
	cmd.Flags().BoolVar(&v2, "v2", false, "import the v2 keys of a data directory; the default if it has no v3 keys")
	cmd.Flags().StringVar(&walDir, "from-wal-dir", "", "directory of etcd's log (default member/wal in its data directory)")
	return cmd
}

// importDir imports the data directory of a stopped member of etcd, or a backup by `etcdctl
// backup`.
func (t *tool) importDir(path, walDir string, v2 bool, to backup.Target) error {
	if err := datadir.CheckNotCairns(path); err != nil {
		return err
	}
	found, err := t.readDir(path, walDir, v2, to)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(t.out, "found in %s: %s\n", path, found.String()); err != nil {
		return err
	}
	return t.restored(path, to)
}

func (t *tool) readDir(path, walDir string, v2 bool, to backup.Target) (found backup.Imported, err error) {
	release, err := to.Reserve(datadir.Import)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, release()) }()
	show, hide := t.progress("importing")
	defer hide()
	if !v2 && hasDatabase(path) {
		if found, v2, err = t.importV3(path, walDir, to, show); err != nil || !v2 {
			return found, err
		}
	}
	if _, err := os.Stat(filepath.Join(path, "member", "wal")); walDir == "" && err != nil {
		return found, fmt.Errorf("%s: want the data directory of an etcd, with member/wal: %w", path, err)
	}
	d, err := etcdfile.OpenV2Dir(path, walDir)
	if err != nil {
		return found, err
	}
	found, err = backup.ImportV2(d, to, show)
	return found, errors.Join(err, d.Close())
}

// importV3 imports the v3 keys of a data directory, unless it has none: a backup by `etcdctl
// backup` has not even a place for them.
func (t *tool) importV3(path, walDir string, to backup.Target, show backup.Progress) (found backup.Imported, empty bool, err error) {
	d, err := whenFree(t, func() (*etcdfile.DataDir, error) { return etcdfile.OpenDataDir(path, walDir) })
	if errors.Is(err, etcdfile.ErrNoV3) {
		return found, true, nil
	}
	if err != nil {
		return found, false, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if empty, err = backup.EmptyV3(d); err != nil || empty {
		return found, empty, err
	}
	found, err = backup.ImportDataDir(d, to, show)
	return found, false, err
}

// hasDatabase reports whether a data directory has the file of v3 keys.
func hasDatabase(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "member", "snap", "db"))
	return err == nil
}

func (t *tool) importFile(path string, to backup.Target, check bool) error {
	if cairns, err := isCairns(path); err != nil {
		return err
	} else if cairns {
		return fmt.Errorf("%s: is a snapshot of cairn, not of etcd: make a data directory of it with `etcdutl snapshot restore`", path)
	}
	found, err := t.readFile(path, to, check)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(t.out, "found in %s: %s\n", path, found.String()); err != nil {
		return err
	}
	return t.restored(path, to)
}

func (t *tool) readFile(path string, to backup.Target, check bool) (found backup.Imported, err error) {
	release, err := to.Reserve(datadir.Import)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, release()) }()
	f, err := whenFree(t, func() (*etcdfile.File, error) { return etcdfile.Open(path, check) })
	if errors.Is(err, etcdfile.ErrNoV3) {
		return found, fmt.Errorf("%w: import the whole directory of the backup or of the member: its v2 keys are in the log", err)
	}
	if errors.Is(err, etcdfile.ErrNoHash) {
		return found, fmt.Errorf("%w: take a snapshot again, import the whole data directory, or accept the file with --skip-hash-check", err)
	}
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	show, hide := t.progress("importing")
	defer hide()
	return backup.Import(f, to, show)
}

// exportFormats are the formats of an export.
var exportFormats = map[string]func(m *machine.Machine, path string, progress backup.Progress) (backup.Exported, error){
	"etcd": backup.Export, "jsonl": backup.ExportLines,
}

func (t *tool) exports() *cobra.Command {
	var format, output string
	var live liveFlags
	cmd := &cobra.Command{
		Use: "export [snapshot or data directory] --output {filename}", Short: "Writes a state of cairn as a snapshot that etcd restores", Args: cobra.MaximumNArgs(1),
		Long: "Exports keys with their revisions and history, leases, users and roles, of a file, a directory, or the running member of\n" +
			"--endpoints. etcd's `etcdutl snapshot restore` accepts the file; --format jsonl writes lines of JSON (docs/formats/etcd.md),\n" +
			"with the hashes of the passwords. Directories of v2 and TTLs of v2 keys do not exist in etcd's v3 store; their number is\n" +
			"printed.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if output == "" {
				return usageError{errors.New("--output: want the name of the file to write")}
			}
			if _, ok := exportFormats[format]; !ok {
				return usageError{fmt.Errorf("--format=%s: unknown format, want etcd or jsonl", format)}
			}
			switch {
			case (live.endpoint != "") == (len(args) == 1):
				return usageError{errors.New("want exactly 1 argument, a snapshot or a data directory, or --endpoints")}
			case live.endpoint == "":
				return t.export(args[0], args[0], format, output)
			}
			path, remove, err := live.snapshot(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, remove()) }()
			return t.export(path, live.endpoint, format, output)
		},
	}
	cmd.Flags().StringVar(&format, "format", "etcd", "format of the file: etcd, a snapshot for etcd 3.4 and later; jsonl, a line of JSON for each change, lease, user and role")
	cmd.Flags().StringVarP(&output, "output", "o", "", "name of the file to write; it must not exist")
	live.add(cmd.Flags())
	return cmd
}

// export exports a snapshot or a data directory; from is its name for a person.
func (t *tool) export(path, from, format, output string) (err error) {
	c, err := whenFree(t, func() (*backup.Content, error) { return backup.OpenContent(path) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	show, hide := t.progress("exporting")
	done, err := exportFormats[format](c.Machine(), output, show)
	hide()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "exported %s to %s: revision %d, %d changes, %d leases, %d users, %d roles, %s\n",
		from, output, done.Revision, done.Changes, done.Leases, done.Users, done.Roles, formatBytes(done.Size))
	if err == nil && done.Lost > 0 {
		_, err = fmt.Fprintf(t.err, "%d directories or TTLs of v2 are not in the file: etcd's v3 store has none\n", done.Lost)
	}
	return err
}
