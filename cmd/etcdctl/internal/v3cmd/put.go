package v3cmd

import (
	"fmt"
	"io"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var putCommand = cli.Command{
	Path: "put", Args: "<key> [value]",
	Short: "put a key-value pair into the store",
	Long: "Without a value argument the value is read from standard input. Write -- before a value that begins with a dash:\n" +
		"etcdctl put key -- -1",
	Example: "$ etcdctl put /app/mode blue\nOK\n$ etcdctl put /app/mode green --prev-kv\nOK\n/app/mode\nblue",
	Flags:   putFlags,
	Run: func(s *cli.Session) error {
		return runOp(s, putOp, func(_ *printer, r clientv3.OpResponse) response {
			return putResponse((*etcdserverpb.PutResponse)(r.Put()))
		})
	},
}

func putFlags(flags *pflag.FlagSet) {
	flags.String("lease", "0", "attach the key to this lease, an `ID` in hexadecimal: the key is deleted when the lease ends")
	flags.Bool("prev-kv", false, "return the previous key-value pair")
	flags.Bool("ignore-value", false, "keep the current value of the key")
	flags.Bool("ignore-lease", false, "keep the current lease of the key")
}

// putOp returns the request that flags and arguments describe.
func putOp(s *cli.Session) (clientv3.Op, error) {
	var opts []clientv3.OpOption
	lease, err := parseLease(s.String("lease"))
	if err != nil {
		return clientv3.Op{}, failf(exitArgs, "bad lease ID (%w), expecting ID in Hex", err)
	}
	if lease != clientv3.NoLease {
		opts = append(opts, clientv3.WithLease(lease))
	}
	if s.Bool("prev-kv") {
		opts = append(opts, clientv3.WithPrevKV())
	}
	if s.Bool("ignore-value") {
		opts = append(opts, clientv3.WithIgnoreValue())
	}
	if s.Bool("ignore-lease") {
		opts = append(opts, clientv3.WithIgnoreLease())
	}
	key, text, err := putArgs(s)
	if err != nil {
		return clientv3.Op{}, err
	}
	return clientv3.OpPut(key, text, opts...), nil
}

// putArgs returns the key and the value. The value is read from standard input if it is not an
// argument.
func putArgs(s *cli.Session) (key, text string, err error) {
	needs := failf(exitArgs, "put command needs 1 argument and input from stdin or 2 arguments")
	switch {
	case len(s.Args) == 0:
		return "", "", needs
	case s.Bool("ignore-value") && len(s.Args) > 1:
		return "", "", failf(exitArgs, "put command needs only 1 argument when 'ignore-value' is set")
	case s.Bool("ignore-value"):
		return s.Args[0], "", nil
	case len(s.Args) > 1:
		return s.Args[0], s.Args[1], nil
	case s.In == nil:
		return "", "", needs
	}
	data, err := io.ReadAll(s.In)
	if err != nil {
		return "", "", failf(exitArgs, "read value from standard input: %w", err)
	}
	if len(data) == 0 {
		return "", "", needs
	}
	return s.Args[0], string(data), nil
}

func putResponse(r *etcdserverpb.PutResponse) response {
	return response{
		json: r, proto: r,
		simple: func(p *printer) {
			fmt.Fprintln(p, "OK")
			if r.PrevKv != nil {
				p.kv(r.PrevKv)
			}
		},
		fields: func(p *printer) {
			p.header(r.Header)
			if r.PrevKv != nil {
				p.kvFields("Prev", r.PrevKv)
			}
		},
	}
}
