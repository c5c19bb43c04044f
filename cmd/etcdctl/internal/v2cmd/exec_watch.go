package v2cmd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var execWatchCommand = cli.Command{
	Path: "exec-watch", Args: "<key> -- <program> [arguments]",
	Short: "run a program for each change of a key",
	Long: "Runs until interrupted, without waiting for the programs that it started. They get the change in ETCD_WATCH_ACTION,\n" +
		"ETCD_WATCH_KEY, ETCD_WATCH_VALUE and ETCD_WATCH_MODIFIED_INDEX. Their exit status is ignored. Changes of directories\n" +
		"themselves are ignored.",
	Example: `$ etcdctl exec-watch /app/mode -- sh -c 'echo now $ETCD_WATCH_VALUE'` + "\nnow blue",
	Flags:   watchFlags,
	Run: func(s *cli.Session) error {
		key, program, err := keyAndProgram(arguments(s))
		if err != nil {
			return fail(exitBadArgs, err)
		}
		return follow(s, key, func(r *v2client.Response) (more bool, err error) {
			if r.Node.Dir {
				fmt.Fprintf(s.Err, "Ignored dir %s change\n", r.Node.Key)
				return true, nil
			}
			return true, start(s, program, r)
		})
	},
}

// keyAndProgram splits the arguments. Without a "--" the key is the last argument, as in etcdctl 2.
func keyAndProgram(args []string) (key string, program []string, err error) {
	if len(args) < 2 {
		return "", nil, errors.New("key and command to exec required")
	}
	if dash := slices.Index(args, "--"); dash < 0 {
		return args[len(args)-1], args[:len(args)-1], nil
	} else if program = args[dash+1:]; dash == 0 || len(program) == 0 {
		return "", nil, errors.New("key and command to exec required")
	}
	return args[0], program, nil
}

// start starts the program and leaves it running.
func start(s *cli.Session, program []string, r *v2client.Response) error {
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Env = append(os.Environ(),
		"ETCD_WATCH_ACTION="+r.Action,
		"ETCD_WATCH_KEY="+r.Node.Key,
		"ETCD_WATCH_VALUE="+r.Node.Value,
		fmt.Sprintf("ETCD_WATCH_MODIFIED_INDEX=%d", r.Node.ModifiedIndex))
	cmd.Stdout, cmd.Stderr = s.Out, s.Err
	if err := cmd.Start(); err != nil {
		return &cli.Exit{Code: exitBadArgs, Message: err.Error()}
	}
	go func() { _ = cmd.Wait() }() // reaps the process; its exit status is ignored
	return nil
}
