package v2cmd

import (
	"context"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var setCommand = cli.Command{
	Path: "set", Args: "<key> [value]",
	Short: "set a key's value",
	Long: "Makes the key, and the directories above it, if need be. Without a value, standard input is the value.\n" +
		"With --swap-with-value or --swap-with-index, the key is set only if it is still what they say.",
	Example: "$ etcdctl set /app/mode blue --ttl 60\nblue",
	Flags: func(flags *pflag.FlagSet) {
		ttlFlag(flags)
		flags.String("swap-with-value", "", "set it only if this is its `value` now")
		flags.Uint64("swap-with-index", 0, "set it only if this is its modified `index` now; 0 does not ask")
	},
	Run: func(s *cli.Session) error {
		return write(s, v2client.SetOptions{PrevValue: s.String("swap-with-value"), PrevIndex: s.Uint64("swap-with-index")})
	},
}

// write sets a key under the conditions given and prints it.
func write(s *cli.Session, o v2client.SetOptions) error {
	key, value, err := keyAndValue(s)
	if err != nil {
		return err
	}
	o.TTL = ttl(s)
	r, err := ask(s, func(ctx context.Context, c *v2client.Client) (*v2client.Response, error) {
		return c.Set(ctx, key, value, o)
	})
	if err != nil {
		return err
	}
	printResponse(s, r)
	return nil
}
