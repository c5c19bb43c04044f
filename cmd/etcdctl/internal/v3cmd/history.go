package v3cmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var historyCommand = cli.Command{
	Path: "history", Args: "<key>", Beyond: true,
	Short: "print the revisions of a key that the history still has, and what each changed",
	Long: "The history reaches back to the last compaction. A first revision whose previous value has been compacted is printed with\n" +
		"its whole value.",
	Example: "$ etcdctl history /app/mode\nrevision 7  put  version 1\n+ blue\nrevision 9  put  version 2\n- blue\n+ green",
	Flags: func(flags *pflag.FlagSet) {
		flags.Bool("name-only", false, "print the revisions without the values")
	},
	Run: history, Complete: completeKeys,
}

func history(s *cli.Session) error {
	key, err := oneKey(s, "history")
	if err != nil {
		return err
	}
	return withKubeView(s, func(c *clientv3.Client, view *kubeView) error {
		ctx, cancel := limited(s)
		defer cancel()
		head, err := currentRevision(ctx, c, key)
		if err != nil {
			return err
		}
		events, compacted, err := eventsUpTo(ctx, c, key, head)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return failf(exitError, "the history from revision %d to %d has no event of %q", compacted, head, key)
		}
		for _, e := range events {
			if err := printEvent(s, view, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// eventsUpTo returns the events of a key up to a revision, and the first revision that the history
// has.
func eventsUpTo(ctx context.Context, c *clientv3.Client, key string, head int64) (events []*clientv3.Event, first int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for first = 1; ; {
		compacted := int64(0)
		for r := range c.Watch(ctx, key, clientv3.WithRev(first), clientv3.WithPrevKV(), clientv3.WithCreatedNotify()) {
			if compacted = r.CompactRevision; compacted > 0 {
				break
			}
			if err := r.Err(); err != nil {
				return nil, first, fail(exitError, err)
			}
			if r.Created { // the progress response follows the events up to its revision
				if err := c.RequestProgress(ctx); err != nil {
					return nil, first, fail(exitError, err)
				}
			}
			for _, e := range r.Events {
				if e.Kv.GetModRevision() <= head {
					events = append(events, e)
				}
			}
			if r.IsProgressNotify() && r.Header.GetRevision() >= head {
				return events, first, nil
			}
		}
		switch err := ctx.Err(); {
		case err != nil:
			return nil, first, fail(exitError, err)
		case compacted <= first:
			return nil, first, failf(exitError, "the server ended the watch of %q", key)
		}
		first = compacted
	}
}

func printEvent(s *cli.Session, view *kubeView, e *clientv3.Event) error {
	line := fmt.Sprintf("revision %d  %s", e.Kv.GetModRevision(), strings.ToLower(e.Type.String()))
	if e.Type == mvccpb.PUT {
		line += fmt.Sprintf("  version %d", e.Kv.GetVersion())
		if lease := e.Kv.GetLease(); lease != 0 {
			line += fmt.Sprintf("  lease %x", lease)
		}
	}
	fmt.Fprintln(s.Out, paint(s, bold, line))
	if s.Bool("name-only") {
		return nil
	}
	return printChange(s, view, e.PrevKv.GetValue(), e.Kv.GetValue(), e.PrevKv != nil, e.Type == mvccpb.PUT)
}
