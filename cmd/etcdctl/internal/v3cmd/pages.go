package v3cmd

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

// Limits of a page of a range that a command reads as a whole: the number of keys is adjusted so
// that a page has about pageBytes, whatever the size of the values.
const (
	pageBytes     = 1 << 20
	pageKeysFirst = 50
	pageKeysMax   = 1000
)

// pages reads the keys of a prefix in order, a page at a time, all at one revision.
type pages struct {
	c        *clientv3.Client
	next     string // first key not read yet
	end      string // range end; "\x00" for none
	revision int64  // 0 until the first page: the current revision
	keysOnly bool
	limit    int64 // number of keys in the next page
	page     []*mvccpb.KeyValue
	more     bool
}

// newPages returns a reader of the keys that begin with a prefix, at a revision or, with 0, at the
// current one.
func newPages(c *clientv3.Client, prefix string, revision int64) *pages {
	p := &pages{c: c, next: prefix, end: clientv3.GetPrefixRangeEnd(prefix), revision: revision, limit: pageKeysFirst, more: true}
	if prefix == "" {
		p.next, p.end = "\x00", "\x00"
	}
	return p
}

// take returns the next key, or nil at the end.
func (p *pages) take(s *cli.Session) (*mvccpb.KeyValue, error) {
	if len(p.page) == 0 && p.more {
		if err := p.fetch(s); err != nil {
			return nil, err
		}
	}
	if len(p.page) == 0 {
		return nil, nil
	}
	kv := p.page[0]
	p.page = p.page[1:]
	return kv, nil
}

func (p *pages) fetch(s *cli.Session) error {
	ctx, cancel := limited(s)
	defer cancel()
	opts := []clientv3.OpOption{clientv3.WithRange(p.end), clientv3.WithLimit(p.limit), clientv3.WithRev(p.revision)}
	if p.keysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	r, err := p.c.Get(ctx, p.next, opts...)
	if err != nil {
		return fail(exitError, err)
	}
	if p.revision == 0 {
		p.revision = r.Header.GetRevision()
	}
	p.page, p.more = r.Kvs, r.More
	if n := len(r.Kvs); n > 0 {
		p.next = string(r.Kvs[n-1].GetKey()) + "\x00"
		size := 0
		for _, kv := range r.Kvs {
			size += len(kv.GetKey()) + len(kv.GetValue()) + 1
		}
		p.limit = int64(min(max(pageBytes*n/size, 1), pageKeysMax))
	}
	return nil
}

// prefixArg returns the only and optional argument, a prefix.
func prefixArg(s *cli.Session, command string) (string, error) {
	switch len(s.Args) {
	case 0:
		return "", nil
	case 1:
		return s.Args[0], nil
	}
	return "", failf(exitArgs, "%s takes at most one argument, a prefix", command)
}

// oneKey returns the only argument, a key.
func oneKey(s *cli.Session, command string) (string, error) {
	if len(s.Args) != 1 || s.Args[0] == "" {
		return "", failf(exitArgs, "%s needs a key as its only argument", command)
	}
	return s.Args[0], nil
}

// withClient connects and runs do, which limits its requests itself.
func withClient(s *cli.Session, do func(*clientv3.Client) error, formats ...string) error {
	if _, err := begin(s, formats...); err != nil {
		return err
	}
	c, err := connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// currentRevision returns the revision of the store.
func currentRevision(ctx context.Context, c *clientv3.Client, key string) (int64, error) {
	r, err := c.Get(ctx, key, clientv3.WithCountOnly())
	if err != nil {
		return 0, fail(exitError, err)
	}
	return r.Header.GetRevision(), nil
}

// Colours of a terminal.
const (
	red, green, cyan, bold, plain = "\033[31m", "\033[32m", "\033[36m", "\033[1m", "\033[0m"
)

// paint returns a text in a colour, if the output may be coloured.
func paint(s *cli.Session, colour, text string) string {
	if !s.Color() {
		return text
	}
	return fmt.Sprintf("%s%s%s", colour, text, plain)
}
