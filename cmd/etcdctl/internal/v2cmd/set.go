package v2cmd

import (
	"context"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

var setCommand = cli.Command{
	Path: "set", Args: "<key> [value]",
	Short: "set the value of a key",
	Long: "Creates the key and its parent directories if necessary. Without a value argument the value is read from standard input.\n" +
		"--swap-with-value and --swap-with-index set the key only if its value or index is the given one.",
	Example: "$ etcdctl set /app/mode blue --ttl 60\nblue",
	Flags: func(flags *pflag.FlagSet) {
		ttlFlag(flags)
		flags.String("swap-with-value", "", "set the key only if this is its current `value`")
		flags.Uint64("swap-with-index", 0, "set the key only if this is its current modified `index`; 0 means any")
	},
	Run: func(s *cli.Session) error {
		return write(s, v2client.SetOptions{PrevValue: s.String("swap-with-value"), PrevIndex: s.Uint64("swap-with-index")})
	},
}

// write sets a key under the given conditions and prints it.
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
