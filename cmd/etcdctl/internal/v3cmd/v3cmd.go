// Package v3cmd is etcdctl's commands of the v3 API.
//
// It owns what they are called, their flags, what they print in each format and their exit codes,
// all of which scripts know. It does not own the protocol (go.etcd.io/etcd/client/v3 does) nor the
// choice between the dialects (cli does).
//
// Invariants: what a command prints in the formats simple, fields, json, protobuf and table is what
// etcd's etcdctl prints, byte for byte; help texts are not. A format that a command does not have
// is refused before anything is done.
//
// Concurrency: a process runs one command; an interactive watch, those that ask each endpoint,
// make-mirror and check have goroutines of their own, and their output is written by one at a time.
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

// Commands returns the commands.
func Commands() []cli.Command {
	return slices.Concat(
		[]cli.Command{
			putCommand, getCommand, delCommand, txnCommand, compactionCommand, watchCommand, versionCommand,
			hashKVCommand, lockCommand, electCommand, mirrorCommand,
		},
		leaseCommands, endpointCommands, memberCommands, authCommands, userCommands, roleCommands, maintenanceCommands, checkCommands,
		snapshotCommands)
}

// Globals adds the options that every v3 command takes.
func Globals(flags *pflag.FlagSet) {
	flags.StringP("write-out", "w", "simple", "print answers in this `format`: simple, fields, json, protobuf or table")
	flags.Bool("hex", false, "print keys and values in hexadecimal (in the format simple)")
	flags.Duration("dial-timeout", 2*time.Second, "how long to wait for a connection")
	flags.Duration("command-timeout", 5*time.Second, "how long a command may take that does not go on by its nature")
	flags.Duration("keepalive-time", 2*time.Second, "ask after so long a silence whether the server is still there")
	flags.Duration("keepalive-timeout", 6*time.Second, "how long to wait for an answer to that")
	flags.Bool("insecure-transport", true, "speak without TLS; =false is with TLS, whatever the endpoints' scheme")
	flags.Bool("insecure-skip-tls-verify", false, "do not check the servers' certificates (for tests only)")
	flags.String("cert", "", "identify to servers with the certificate in this `file`")
	flags.String("key", "", "the key of that certificate, a `file`")
	flags.String("cacert", "", "trust the servers that the authorities in this `file` have certified")
	flags.String("user", "", "authenticate as this `user[:password]`; a password not given is asked for")
	flags.String("password", "", "the `password` of --user, which then names the user only")
	flags.String("auth-jwt-token", "", "authenticate by this `token`, a JWT that somebody else has signed")
	flags.Int("max-request-bytes", 0, "refuse to send a request of more `bytes` than this; 0 is 2 MiB")
	flags.Int("max-recv-bytes", 0, "refuse an answer of more `bytes` than this; 0 is none")
	flags.String("discovery-srv-name", "", "the `name` after the service's in the SRV records of --discovery-srv")
}

// fail is the exit with a code and an error.
func fail(code int, err error) error {
	return &cli.Exit{Code: code, Message: fmt.Sprintf("Error: %v\n", err), Err: err}
}

// failf is fail with a text.
func failf(code int, format string, args ...any) error {
	return fail(code, fmt.Errorf(format, args...))
}

// parseLease reads a lease's ID, which is hexadecimal wherever people see it.
func parseLease(text string) (clientv3.LeaseID, error) {
	id, err := strconv.ParseInt(text, 16, 64)
	return clientv3.LeaseID(id), err
}

// value returns the value of a flag, which a command that asks for it has.
func value[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
