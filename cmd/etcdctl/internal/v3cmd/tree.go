package v3cmd

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var treeCommand = cli.Command{
	Path: "tree", Args: "[prefix]", Beyond: true,
	Short: "print keys as a tree, with counts, sizes and leases",
	Long: "Each directory shows the number of keys below it and the bytes of their keys and values; a key with a lease shows the\n" +
		"remaining time to live.",
	Example: "$ etcdctl tree /app/\n/app/  3 keys, 31 B\n├── db/  2 keys, 20 B\n│   ├── host  11 B\n│   └── port  9 B\n└── mode  11 B  ttl 42s",
	Flags: func(flags *pflag.FlagSet) {
		flags.Int("depth", 0, "number of `levels` to print; 0 means all")
		flags.String("separator", "/", "`text` that separates the levels of a key")
		flags.Int64("rev", 0, "read at this `revision`; 0 means the current one")
	},
	Run: tree, Complete: completeKeys,
}

// branch is a node of the tree: a directory, a key, or both.
type branch struct {
	keys, bytes int64
	lease       int64
	isKey       bool
	kind        string // of Kubernetes' object; empty unless the format is kube
	below       map[string]*branch
}

func tree(s *cli.Session) error {
	prefix, err := prefixArg(s, "tree")
	if err != nil {
		return err
	}
	separator, depth := s.String("separator"), value(s.Flags.GetInt("depth"))
	if separator == "" {
		return failf(exitArgs, "--separator must not be empty")
	}
	return withKubeView(s, func(c *clientv3.Client, view *kubeView) error {
		root := &branch{}
		read := newPages(c, prefix, s.Int64("rev"))
		for {
			kv, err := read.take(s)
			if err != nil {
				return err
			}
			if kv == nil {
				break
			}
			kind, err := view.kind(kv.GetValue())
			if err != nil {
				return err
			}
			root.add(kv, kind, strings.TrimPrefix(string(kv.GetKey()), prefix), separator, depth)
		}
		fmt.Fprintf(s.Out, "%s  %s\n", paint(s, bold, cmp.Or(readable([]byte(prefix)), ".")), root.summary())
		p := treePrinter{s: s, c: c, separator: separator, ttls: map[int64]string{}}
		p.print(root, "")
		return nil
	})
}

// add adds a key. Levels below depth are not kept: only their counts are.
func (b *branch) add(kv *mvccpb.KeyValue, kind, rest, separator string, depth int) {
	size := int64(len(kv.GetKey()) + len(kv.GetValue()))
	b.keys++
	b.bytes += size
	level := 0
	for rest != "" && (depth == 0 || level < depth) {
		// The prefix /app without its slash has the branches /a and /b/, not one branch / with
		// both.
		lead := ""
		if level == 0 && len(rest) < len(kv.GetKey()) && strings.HasPrefix(rest, separator) {
			lead = separator
		}
		name, after, isDir := strings.Cut(rest[len(lead):], separator)
		name = lead + name
		if isDir {
			name += separator
		}
		if b.below == nil {
			b.below = map[string]*branch{}
		}
		next := b.below[name]
		if next == nil {
			next = &branch{}
			b.below[name] = next
		}
		b, rest = next, after
		b.keys++
		b.bytes += size
		level++
		if !isDir {
			b.isKey, b.lease, b.kind = true, kv.GetLease(), kind
		}
	}
}

// summary returns the number of keys and bytes.
func (b *branch) summary() string {
	unit := "keys"
	if b.keys == 1 {
		unit = "key"
	}
	return fmt.Sprintf("%d %s, %s", b.keys, unit, cli.FormatBytes(b.bytes))
}

type treePrinter struct {
	s         *cli.Session
	c         *clientv3.Client
	separator string
	ttls      map[int64]string // by lease
}

// print prints what is below a branch. indent is the text in front of each line.
func (p *treePrinter) print(b *branch, indent string) {
	names := slices.Sorted(maps.Keys(b.below))
	for i, name := range names {
		edge, next := "├── ", "│   "
		if i == len(names)-1 {
			edge, next = "└── ", "    "
		}
		child := b.below[name]
		name = readable([]byte(name))
		text := cli.FormatBytes(child.bytes)
		if !child.isKey {
			text = child.summary()
			name = paint(p.s, cyan, name)
		}
		if child.kind != "" {
			text = child.kind + "  " + text
		}
		fmt.Fprintf(p.s.Out, "%s%s%s  %s%s\n", indent, edge, name, text, p.ttl(child.lease))
		p.print(child, indent+next)
	}
}

// ttl returns the remaining time to live of a lease as text.
func (p *treePrinter) ttl(lease int64) string {
	if lease == 0 {
		return ""
	}
	if text, ok := p.ttls[lease]; ok {
		return text
	}
	ctx, cancel := limited(p.s)
	defer cancel()
	text := fmt.Sprintf("  lease %x", lease)
	if r, err := p.c.TimeToLive(ctx, clientv3.LeaseID(lease)); err == nil && r.TTL >= 0 {
		text = fmt.Sprintf("  ttl %ds", r.TTL)
	}
	p.ttls[lease] = text
	return text
}

// completeKeys completes a key by the existing keys, up to the next slash, as a file name is
// completed.
func completeKeys(s *cli.Session) []string {
	typed := s.Args[len(s.Args)-1]
	var words []string
	_ = quickly(s, func(ctx context.Context, c *clientv3.Client) error {
		start, end := typed, clientv3.GetPrefixRangeEnd(typed)
		if typed == "" {
			start, end = "\x00", "\x00"
		}
		for len(words) < completionsMax {
			r, err := c.Get(ctx, start, clientv3.WithRange(end), clientv3.WithKeysOnly(), clientv3.WithLimit(1), clientv3.WithSerializable())
			if err != nil || len(r.Kvs) == 0 {
				return err
			}
			word := string(r.Kvs[0].GetKey())
			start = word + "\x00"
			if i := strings.IndexByte(word[len(typed):], '/'); i >= 0 {
				word = word[:len(typed)+i+1]
				start = clientv3.GetPrefixRangeEnd(word)
			}
			// A key with a line end or a tab, or that is not text, cannot be given to the shell as
			// a line; one with an escape sequence must not control the terminal.
			if readable([]byte(word)) == word {
				words = append(words, word)
			}
		}
		return nil
	})
	return words
}
