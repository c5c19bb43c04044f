package v2cmd

import (
	"context"
	"time"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var setdirCommand = cli.Command{
	Path: "setdir", Args: "<key>",
	Short:   "create a directory",
	Long:    "A key of that name becomes an empty directory. Fails with error 102 if the directory exists: `updatedir` updates its TTL.",
	Example: "$ etcdctl setdir /app/instances --ttl 60",
	Flags:   ttlFlag,
	Run: func(s *cli.Session) error {
		return onDir(s, func(d dir) (*v2client.Response, error) { return d.set(nil) })
	},
}

// dir is a directory that a command works on.
type dir struct {
	ctx    context.Context
	client *v2client.Client
	path   string
	ttl    time.Duration
}

// set writes the directory; exist is whether it must exist, must not exist or, when nil, may.
func (d dir) set(exist *bool) (*v2client.Response, error) {
	return d.client.Set(d.ctx, d.path, "", v2client.SetOptions{Dir: true, PrevExist: exist, TTL: d.ttl})
}

// onDir runs a command on the directory that is its argument.
func onDir(s *cli.Session, do func(dir) (*v2client.Response, error)) error {
	key, err := keyOf(s)
	if err != nil {
		return err
	}
	r, err := ask(s, func(ctx context.Context, c *v2client.Client) (*v2client.Response, error) {
		return do(dir{ctx: ctx, client: c, path: key, ttl: ttl(s)})
	})
	if err != nil {
		return err
	}
	printDir(s, r)
	return nil
}
