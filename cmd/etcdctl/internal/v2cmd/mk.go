package v2cmd

import (
	"context"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var mkCommand = cli.Command{
	Path: "mk", Args: "<key> [value]",
	Short: "make a key that is not there yet",
	Long: "Fails with error 105 if the key exists. Without a value, standard input is the value. With --in-order the key is\n" +
		"a directory, in which a key is made whose name is greater than all before it: a queue.",
	Example: "$ etcdctl mk /app/lock me\nme\n$ etcdctl mk --in-order /queue job-1\njob-1",
	Flags: func(flags *pflag.FlagSet) {
		flags.Bool("in-order", false, "make a key with the next name in the directory <key>")
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
