// Package v3cmd has etcdctl's commands of the v3 API.
//
// It owns their names, flags, output formats and exit codes, which scripts rely on. It does not own
// the protocol (go.etcd.io/etcd/client/v3 does), the choice between the dialects (cli does), or the
// diagnosis of endpoints (reach does).
//
// Invariants: a command prints in the formats simple, fields, json, protobuf and table what etcd's
// etcdctl 3.7 prints; with --hex IDs are in hexadecimal in all of them. Help texts are our own. An
// unsupported format is refused before anything is done.
//
// Concurrency: a process runs one command. Interactive watches, commands that query each endpoint,
// make-mirror and check start goroutines; their output is serialized.
package v3cmd

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

// Exit codes of the v3 commands.
const (
	exitError       = 1
	exitConnection  = 2
	exitInput       = 3
	exitFeature     = 4
	exitInterrupted = 5
	exitArgs        = 128
)

// waiting are the commands that wait for the cluster as long as it takes.
var waiting = []string{"watch", "lock", "elect", "lease keep-alive", "make-mirror"}

// Commands returns the commands.
func Commands() []cli.Command {
	commands := slices.Concat(
		[]cli.Command{
			putCommand, getCommand, delCommand, txnCommand, compactionCommand, watchCommand, versionCommand,
			hashKVCommand, lockCommand, electCommand, mirrorCommand,
			treeCommand, historyCommand, diffCommand, exportCommand, importCommand, editCommand, topCommand, endpointCertsCommand, diagnosisCommand, migrateCommand,
		},
		leaseCommands, endpointCommands, memberCommands, authCommands, userCommands, roleCommands, maintenanceCommands, checkCommands,
		snapshotCommands, discoveryCommands)
	complete := completions()
	for i := range commands {
		if commands[i].Run != nil {
			commands[i].Run = withAdvice(commands[i].Run)
		}
		if slices.Contains(waiting, commands[i].Path) {
			commands[i].Run = withNotice(commands[i].Run)
		}
		if f := complete[commands[i].Path]; f != nil {
			commands[i].Complete = f
		}
	}
	return commands
}

// Globals adds the options of every v3 command.
func Globals(flags *pflag.FlagSet) {
	flags.StringP("write-out", "w", "simple", "output `format`: simple, fields, json, protobuf or table; kube (YAML of Kubernetes' objects) for get, watch, history, diff, tree")
	flags.Bool("hex", false, "print keys, values (format simple) and IDs (all formats) in hexadecimal")
	flags.Duration("dial-timeout", 2*time.Second, "timeout for connecting")
	flags.Duration("command-timeout", 5*time.Second, "timeout for a command that does not run until interrupted")
	flags.Duration("keepalive-time", 2*time.Second, "interval of keepalive pings to the server")
	flags.Duration("keepalive-timeout", 6*time.Second, "timeout for the response to a keepalive ping")
	flags.Bool("insecure-transport", true, "connect without TLS to endpoints without a scheme; =false uses TLS")
	flags.Bool("insecure-skip-tls-verify", false, "do not verify the certificates of servers (for tests only)")
	flags.String("cert", "", "client certificate `file` (PEM)")
	flags.String("key", "", "key `file` of the client certificate (PEM)")
	flags.String("cacert", "", "verify the certificates of servers with the CA certificates in this `file` (PEM)")
	flags.String("user", "", "authenticate as `user[:password]`; asks for the password if it is missing")
	flags.String("password", "", "`password` of --user")
	flags.String("auth-jwt-token", "", "authenticate with this `token`, a JWT")
	flags.Var(new(cli.Bytes), "max-request-bytes", "maximum size of a request in `bytes`, also as 4MB or 4MiB; 0 means 2 MiB")
	flags.Var(new(cli.Bytes), "max-recv-bytes", "maximum size of a response in `bytes`, also as 4MB or 4MiB; 0 means no limit")
	flags.String("discovery-srv-name", "", "`name` appended to the service name in the SRV records of --discovery-srv")
}

// fail returns an exit with a code and an error.
func fail(code int, err error) error {
	return &cli.Exit{Code: code, Message: fmt.Sprintf("Error: %v\n", err), Err: err}
}

// failf is fail with a text.
func failf(code int, format string, args ...any) error {
	return fail(code, fmt.Errorf(format, args...))
}

// parseLease parses the ID of a lease, which etcdctl reads and prints in hexadecimal.
func parseLease(text string) (clientv3.LeaseID, error) {
	id, err := strconv.ParseInt(text, 16, 64)
	return clientv3.LeaseID(id), err
}

// byteCount returns the value of a flag that is a number of bytes.
func byteCount(s *cli.Session, name string) int {
	n, _ := s.Flags.Lookup(name).Value.(*cli.Bytes)
	return int(*n)
}

// value returns the value of a flag. It panics if the command does not have the flag.
func value[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
