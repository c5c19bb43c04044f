package v3cmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var getCommand = cli.Command{
	Path: "get", Args: "<key> [range end]",
	Short: "get a key, or the keys from <key> up to [range end]",
	Long: "The range end is exclusive. --count-only needs --write-out=fields. With --stream the server sends the keys in chunks,\n" +
		"which the format simple prints as they arrive, so that a large range needs little memory.",
	Example: "$ etcdctl get /app/ --prefix\n/app/mode\nblue\n$ etcdctl get \"\" --prefix --count-only -w fields | grep Count\n\"Count\" : 1",
	Flags: func(flags *pflag.FlagSet) {
		getFlags(flags)
		flags.Bool("stream", false, "receive the keys in chunks (RangeStream)")
	},
	Run: runGet,
}

func runGet(s *cli.Session) error {
	if err := environment(s); err != nil {
		return err
	}
	if s.Bool("print-value-only") && s.String("write-out") != simple {
		return failf(exitArgs, "print-value-only is only for `--write-out=simple`")
	}
	if s.Bool("stream") {
		return getStream(s)
	}
	if s.String("write-out") == kubeText {
		return kubeGet(s)
	}
	return runOp(s, getOp, func(p *printer, r clientv3.OpResponse) response {
		p.valueOnly = s.Bool("print-value-only")
		return getResponse((*etcdserverpb.RangeResponse)(r.Get()))
	})
}

// getStream gets the keys through RangeStream. The format simple prints each chunk when it arrives;
// the other formats print one response.
func getStream(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	p.valueOnly = s.Bool("print-value-only")
	key, opts, err := getRequest(s)
	if err != nil {
		return err
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		chunks, err := c.GetStream(ctx, key, opts...)
		if err != nil {
			return fail(exitError, err)
		}
		if p.format != simple {
			r, err := clientv3.GetStreamToGetResponse(chunks)
			if err != nil {
				return fail(exitError, err)
			}
			return p.print(getResponse((*etcdserverpb.RangeResponse)(r)))
		}
		for chunk := range chunks {
			if err := chunk.Err(); err != nil {
				return fail(exitError, err)
			}
			if err := p.print(getResponse(chunk.RangeResponse)); err != nil {
				return err
			}
		}
		return nil
	})
}

func getFlags(flags *pflag.FlagSet) {
	flags.String("consistency", "l", "linearizable (`l`): see every write completed before; or serializable (s): read the responding member's state")
	flags.Bool("prefix", false, "get the keys that begin with <key>")
	flags.Bool("from-key", false, "get the keys greater than or equal to <key>, compared as bytes")
	flags.Int64("limit", 0, "maximum number of `keys` to return; 0 means no limit")
	flags.Int64("rev", 0, "read at this `revision`; 0 means the current one")
	flags.String("order", "", "order of the results: `ASCEND` or DESCEND")
	flags.String("sort-by", "", "sort by `KEY`, VERSION, CREATE, MODIFY or VALUE")
	flags.Bool("keys-only", false, "return keys without values")
	flags.Bool("count-only", false, "return only the number of keys (needs --write-out=fields)")
	flags.Bool("print-value-only", false, "print values without keys (format simple)")
	flags.Int64("min-create-rev", 0, "only keys created at this `revision` or later")
	flags.Int64("max-create-rev", 0, "only keys created at this `revision` or earlier")
	flags.Int64("min-mod-rev", 0, "only keys modified at this `revision` or later")
	flags.Int64("max-mod-rev", 0, "only keys modified at this `revision` or earlier")
}

var (
	sortOrders  = map[string]clientv3.SortOrder{"": clientv3.SortNone, "ASCEND": clientv3.SortAscend, "DESCEND": clientv3.SortDescend}
	sortTargets = map[string]clientv3.SortTarget{
		"": clientv3.SortByKey, "KEY": clientv3.SortByKey, "VERSION": clientv3.SortByVersion,
		"CREATE": clientv3.SortByCreateRevision, "MODIFY": clientv3.SortByModRevision, "VALUE": clientv3.SortByValue,
	}
)

// getOp returns the request that flags and arguments describe.
func getOp(s *cli.Session) (clientv3.Op, error) {
	key, opts, err := getRequest(s)
	if err != nil {
		return clientv3.Op{}, err
	}
	return clientv3.OpGet(key, opts...), nil
}

// getRequest returns the key and the options of a get.
func getRequest(s *cli.Session) (key string, opts []clientv3.OpOption, err error) {
	if key, opts, err = rangeOf(s, "get"); err != nil {
		return "", nil, err
	}
	switch format := s.Flags.Lookup("write-out"); {
	case s.Bool("keys-only") && s.Bool("count-only"):
		return "", nil, failf(exitArgs, "`--keys-only` and `--count-only` cannot be set at the same time, choose one")
	case s.Bool("count-only") && format != nil && format.Value.String() != fields: // a txn's get has no --write-out
		return "", nil, failf(exitArgs, "--count-only is only for `--write-out=fields`")
	}
	switch consistency := s.String("consistency"); consistency {
	case "l":
	case "s":
		opts = append(opts, clientv3.WithSerializable())
	default:
		return "", nil, failf(exitFeature, "unknown consistency flag %q", consistency)
	}
	order, ok := sortOrders[strings.ToUpper(s.String("order"))]
	if !ok {
		return "", nil, failf(exitFeature, "bad sort order %s", s.String("order"))
	}
	target, ok := sortTargets[strings.ToUpper(s.String("sort-by"))]
	if !ok {
		return "", nil, failf(exitFeature, "bad sort target %s", s.String("sort-by"))
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
	return key, opts, nil
}

// rangeOf returns the range of get and del: their range flags are the same.
func rangeOf(s *cli.Session, command string) (key string, opts []clientv3.OpOption, err error) {
	prefix, fromKey := s.Bool("prefix"), s.Bool("from-key")
	switch {
	case prefix && fromKey:
		return "", nil, failf(exitArgs, "`--prefix` and `--from-key` cannot be set at the same time, choose one")
	case len(s.Args) == 0 || len(s.Args) > 2 && command != "get": // etcdctl's get ignores further arguments
		return "", nil, failf(exitArgs, "%s command needs one argument as key and an optional argument as range_end", command)
	case len(s.Args) > 1 && (prefix || fromKey):
		return "", nil, failf(exitArgs, "too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
	case len(s.Args) > 1:
		return s.Args[0], []clientv3.OpOption{clientv3.WithRange(s.Args[1])}, nil
	}
	key = s.Args[0]
	// All keys: the protocol requires a first key, and the zero byte sorts before all others.
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

func getResponse(r *etcdserverpb.RangeResponse) response {
	return response{
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
