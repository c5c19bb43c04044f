package v2cmd

import (
	"context"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var mkCommand = cli.Command{
	Path: "mk", Args: "<key> [value]",
	Short: "create a key that does not exist",
	Long: "Fails with error 105 if the key exists. Without a value argument the value is read from standard input. With --in-order the\n" +
		"key is a directory, and the new key in it gets a name greater than all earlier ones: a queue.",
	Example: "$ etcdctl mk /app/lock me\nme\n$ etcdctl mk --in-order /queue job-1\njob-1",
	Flags: func(flags *pflag.FlagSet) {
		flags.Bool("in-order", false, "create a key with the next name in the directory <key>")
		ttlFlag(flags)
	},
	Run: func(s *cli.Session) error {
		if s.Bool("in-order") {
			return enqueue(s)
		}
		return write(s, v2client.SetOptions{PrevExist: new(false)})
	},
}

// enqueue makes an in-order key.
func enqueue(s *cli.Session) error {
	dir, value, err := keyAndValue(s)
	if err != nil {
		return err
	}
	r, err := ask(s, func(ctx context.Context, c *v2client.Client) (*v2client.Response, error) {
		return c.CreateInOrder(ctx, dir, value, ttl(s))
	})
	if err != nil {
		return err
	}
	printResponse(s, r)
	return nil
}
