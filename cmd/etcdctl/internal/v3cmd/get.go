package v3cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var getCommand = cli.Command{
	Path: "get", Args: "<key> [range end]",
	Short:   "print a key, or the keys from <key> up to [range end]",
	Long:    "The range end itself is not in the range. With --count-only only the number of keys is printed.",
	Example: "$ etcdctl get /app/ --prefix\n/app/mode\nblue\n$ etcdctl get \"\" --prefix --count-only\n1",
	Flags:   getFlags,
	Run: func(s *cli.Session) error {
		return runOp(s, getOp, func(p *printer, r clientv3.OpResponse) answer {
			p.valueOnly = s.Bool("print-value-only")
			a := getAnswer((*etcdserverpb.RangeResponse)(r.Get()))
			if s.Bool("count-only") {
				a.simple = func(p *printer) { fmt.Fprintln(p, r.Get().Count) }
			}
			return a
		})
	},
}

func getFlags(flags *pflag.FlagSet) {
	flags.String("consistency", "l", "`l` for linearizable: see all that was written before; s for serializable: what the member asked has")
	flags.Bool("prefix", false, "all keys that begin with <key>")
	flags.Bool("from-key", false, "all keys from <key> on, in the order of their bytes")
	flags.Int64("limit", 0, "no more `keys` than this; 0 is all")
	flags.Int64("rev", 0, "as of this `revision`; 0 is now")
	flags.String("order", "", "`ASCEND` or DESCEND")
	flags.String("sort-by", "", "sort by `KEY`, VERSION, CREATE, MODIFY or VALUE")
	flags.Bool("keys-only", false, "keys without their values")
	flags.Bool("count-only", false, "only how many keys there are")
	flags.Bool("print-value-only", false, "in the format simple, values without their keys")
	flags.Int64("min-create-rev", 0, "only keys made at this `revision` or later")
	flags.Int64("max-create-rev", 0, "only keys made at this `revision` or before")
	flags.Int64("min-mod-rev", 0, "only keys last written at this `revision` or later")
	flags.Int64("max-mod-rev", 0, "only keys last written at this `revision` or before")
}

var (
	sortOrders  = map[string]clientv3.SortOrder{"": clientv3.SortNone, "ASCEND": clientv3.SortAscend, "DESCEND": clientv3.SortDescend}
	sortTargets = map[string]clientv3.SortTarget{
		"": clientv3.SortByKey, "KEY": clientv3.SortByKey, "VERSION": clientv3.SortByVersion,
		"CREATE": clientv3.SortByCreateRevision, "MODIFY": clientv3.SortByModRevision, "VALUE": clientv3.SortByValue,
	}
)

// getOp makes the request that flags and arguments ask for.
func getOp(s *cli.Session) (clientv3.Op, error) {
	key, opts, err := rangeOf(s, "get")
	if err != nil {
		return clientv3.Op{}, err
	}
	if s.Bool("keys-only") && s.Bool("count-only") {
		return clientv3.Op{}, failf(exitArgs, "`--keys-only` and `--count-only` cannot be set at the same time, choose one")
	}
	switch consistency := s.String("consistency"); consistency {
	case "l":
	case "s":
		opts = append(opts, clientv3.WithSerializable())
	default:
		return clientv3.Op{}, failf(exitFeature, "unknown consistency flag %q", consistency)
	}
	order, ok := sortOrders[strings.ToUpper(s.String("order"))]
	if !ok {
		return clientv3.Op{}, failf(exitFeature, "bad sort order %s", s.String("order"))
	}
	target, ok := sortTargets[strings.ToUpper(s.String("sort-by"))]
	if !ok {
		return clientv3.Op{}, failf(exitFeature, "bad sort target %s", s.String("sort-by"))
	}
	opts = append(opts, clientv3.WithSort(target, order), clientv3.WithLimit(s.Int64("limit")))
	if s.Bool("keys-only") {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if s.Bool("count-only") {
		opts = append(opts, clientv3.WithCountOnly())
	}
	for name, option := range map[string]func(int64) clientv3.OpOption{
		"rev": clientv3.WithRev, "min-create-rev": clientv3.WithMinCreateRev, "max-create-rev": clientv3.WithMaxCreateRev,
		"min-mod-rev": clientv3.WithMinModRev, "max-mod-rev": clientv3.WithMaxModRev,
	} {
		if revision := s.Int64(name); revision > 0 {
			opts = append(opts, option(revision))
		}
	}
	return clientv3.OpGet(key, opts...), nil
}

// rangeOf returns the range that get and del understand alike.
func rangeOf(s *cli.Session, command string) (key string, opts []clientv3.OpOption, err error) {
	prefix, fromKey := s.Bool("prefix"), s.Bool("from-key")
	switch {
	case prefix && fromKey:
		return "", nil, failf(exitArgs, "`--prefix` and `--from-key` cannot be set at the same time, choose one")
	case len(s.Args) == 0 || len(s.Args) > 2 && command != "get": // get has never minded more
		return "", nil, failf(exitArgs, "%s command needs one argument as key and an optional argument as range_end", command)
	case len(s.Args) > 1 && (prefix || fromKey):
		return "", nil, failf(exitArgs, "too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
	case len(s.Args) > 1:
		return s.Args[0], []clientv3.OpOption{clientv3.WithRange(s.Args[1])}, nil
	}
	key = s.Args[0]
	// every key; the protocol wants a first one, and the zero byte is before all
	if key == "" && (prefix || fromKey) {
		return "\x00", []clientv3.OpOption{clientv3.WithFromKey()}, nil
	}
	if prefix {
		opts = append(opts, clientv3.WithPrefix())
	}
	if fromKey {
		opts = append(opts, clientv3.WithFromKey())
	}
	return key, opts, nil
}

func getAnswer(r *etcdserverpb.RangeResponse) answer {
	return answer{
		json: r, proto: r,
		simple: func(p *printer) { p.kvs(r.Kvs) },
		fields: func(p *printer) {
			p.header(r.Header)
			for _, kv := range r.Kvs {
				p.kvFields("", kv)
			}
			fmt.Fprintf(p, "\"More\" : %t\n\"Count\" : %d\n", r.More, r.Count)
		},
	}
}
