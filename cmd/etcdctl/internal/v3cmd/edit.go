package v3cmd

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var editCommand = cli.Command{
	Path: "edit", Args: "<key>", Beyond: true,
	Short: "edit the value of a key in $EDITOR",
	Long: "Writes the value back only if no other client has changed the key meanwhile, and keeps its lease. On a conflict the edited\n" +
		"value stays in a file, whose name is printed. A key that does not exist starts empty, and is created unless it stays so. The\n" +
		"line end that editors add to a last line without one is removed.",
	Example: "$ EDITOR=vi etcdctl edit /app/config\nOK",
	Run:     edit, Complete: completeKeys,
}

func edit(s *cli.Session) error {
	key, err := oneKey(s, "edit")
	if err != nil {
		return err
	}
	return withClient(s, func(c *clientv3.Client) error {
		ctx, cancel := limited(s)
		r, err := c.Get(ctx, key)
		cancel()
		if err != nil {
			return fail(exitError, err)
		}
		var before []byte
		revision := int64(0)
		if len(r.Kvs) > 0 {
			before, revision = r.Kvs[0].GetValue(), r.Kvs[0].GetModRevision()
		}
		path, after, err := runEditor(s, before)
		if err != nil {
			return fail(exitError, err)
		}
		if !bytes.HasSuffix(before, []byte("\n")) {
			after = bytes.TrimSuffix(after, []byte("\n"))
		}
		if bytes.Equal(before, after) {
			fmt.Fprintln(s.Out, "unchanged")
			return os.Remove(path)
		}
		var opts []clientv3.OpOption
		if revision > 0 {
			opts = append(opts, clientv3.WithIgnoreLease())
		}
		ctx, cancel = limited(s)
		defer cancel()
		txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(clientv3.OpPut(key, string(after), opts...)).Commit()
		if err != nil {
			return failf(exitError, "%w (the edited value is in %s)", err, path)
		}
		if !txn.Succeeded {
			return failf(exitError, "%s was changed by another client meanwhile: the edited value is in %s; edit the key again", readable([]byte(key)), path)
		}
		fmt.Fprintln(s.Out, "OK")
		return os.Remove(path)
	})
}

// runEditor runs the editor on a temporary file with a value. The file remains.
func runEditor(s *cli.Session, before []byte) (path string, after []byte, err error) {
	f, err := os.CreateTemp("", "etcdctl-edit-*")
	if err != nil {
		return "", nil, err
	}
	_, err = f.Write(before)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", nil, err
	}
	editor := cmp.Or(s.Getenv("ETCDCTL_EDITOR"), s.Getenv("VISUAL"), s.Getenv("EDITOR"), "vi")
	cmd := exec.CommandContext(s.Context, "sh", "-c", editor+` "$1"`, "sh", f.Name()) //nolint:gosec // the user's own editor
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	if err := cmd.Run(); err != nil {
		return "", nil, fmt.Errorf("editor %s: %w (the value is in %s)", editor, err, f.Name())
	}
	after, err = os.ReadFile(f.Name())
	return f.Name(), after, err
}
