package v3cmd

import (
	"fmt"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var delCommand = cli.Command{
	Path: "del", Args: "<key> [range end]",
	Short:   "delete a key, or the keys from <key> up to [range end]",
	Long:    "Prints the number of deleted keys. The range end is exclusive.",
	Example: "$ etcdctl del /app/ --prefix\n2",
	Flags:   delFlags,
	Run: func(s *cli.Session) error {
		return runOp(s, delOp, func(_ *printer, r clientv3.OpResponse) response {
			return delResponse((*etcdserverpb.DeleteRangeResponse)(r.Del()))
		})
	},
}

func delFlags(flags *pflag.FlagSet) {
	flags.Bool("prefix", false, "delete the keys that begin with <key>")
	flags.Bool("from-key", false, "delete the keys greater than or equal to <key>, compared as bytes")
	flags.Bool("prev-kv", false, "return the deleted key-value pairs")
	flags.Bool("range", false, "require [range end] (deleting a range works without this flag as well)")
}

// delOp returns the request that flags and arguments describe.
func delOp(s *cli.Session) (clientv3.Op, error) {
	key, opts, err := rangeOf(s, "del")
	if err != nil {
		return clientv3.Op{}, err
	}
	if s.Bool("range") && len(s.Args) < 2 {
		return clientv3.Op{}, failf(exitArgs, "del --range needs [range end] as its second argument")
	}
	if s.Bool("prev-kv") {
		opts = append(opts, clientv3.WithPrevKV())
	}
	return clientv3.OpDelete(key, opts...), nil
}

func delResponse(r *etcdserverpb.DeleteRangeResponse) response {
	return response{
		json: r, proto: r,
		simple: func(p *printer) {
			fmt.Fprintln(p, r.Deleted)
			p.kvs(r.PrevKvs)
		},
		fields: func(p *printer) {
			p.header(r.Header)
			fmt.Fprintf(p, "\"Deleted\" : %d\n", r.Deleted)
			for _, kv := range r.PrevKvs {
				p.kvFields("Prev", kv)
			}
		},
	}
}
