package v3cmd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/mirror"

	"cairn/cmd/etcdctl/internal/cli"
)

var mirrorCommand = cli.Command{
	Path: "make-mirror", Args: "<destination>", Short: "mirror keys, and every later change, to another cluster",
	Long: "Runs until interrupted, and prints the number of keys written every 30 seconds. Other keys of the destination are kept. Leases\n" +
		"are not mirrored.",
	Example: "$ etcdctl make-mirror mirror.example.com:2379 --prefix /app/ --dest-prefix /copy/",
	Flags: func(flags *pflag.FlagSet) {
		flags.String("prefix", "", "mirror only keys with this prefix, a `text`")
		flags.Int64("rev", 0, "mirror only changes from this `revision` on; 0 copies the current keys first")
		flags.Uint("max-txn-ops", 128, "maximum number of `operations` in a transaction")
		flags.String("dest-prefix", "", "replace --prefix by this `text` in the destination")
		flags.Bool("no-dest-prefix", false, "remove --prefix from keys in the destination")
		flags.String("dest-user", "", "authenticate to the destination as `user[:password]`; asks for the password if it is missing")
		flags.String("dest-password", "", "`password` of --dest-user")
		flags.String("dest-cert", "", "client certificate `file` for the destination")
		flags.String("dest-key", "", "key `file` of that certificate")
		flags.String("dest-cacert", "", "verify the destination's certificate with the CA certificates in this `file`")
		flags.Bool("dest-insecure-transport", true, "connect to the destination without TLS; =false uses TLS")
		flags.Bool("dest-insecure-skip-tls-verify", false, "do not verify the destination's certificate (for tests only)")
	},
	Run: makeMirror,
}

const mirrorReport = 30 * time.Second

// copier writes to the destination.
type copier struct {
	dest     *clientv3.Client
	from, to string // prefixes of keys here and in the destination
	opsMax   int
	total    atomic.Int64
}

func makeMirror(s *cli.Session) error {
	// Every format prints the same lines.
	if _, err := begin(s, fields, jsonText, protobuf, table); err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "make-mirror takes one destination argument")
	}
	w := &copier{from: s.String("prefix"), opsMax: int(max(value(s.Flags.GetUint("max-txn-ops")), 1))}
	switch {
	case s.String("dest-prefix") != "" && s.Bool("no-dest-prefix"):
		return failf(exitArgs, "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one")
	case s.Bool("no-dest-prefix"):
	case s.String("dest-prefix") != "":
		w.to = s.String("dest-prefix")
	default:
		w.to = w.from
	}
	config, err := destinationOf(s)
	if err != nil {
		return err
	}
	c, err := connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	if w.dest, err = open(config); err != nil {
		return err
	}
	defer w.dest.Close()
	ctx, stop := interruptible(s)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx, c, s.Int64("rev")) }()
	report := time.NewTicker(mirrorReport)
	defer report.Stop()
	for {
		select {
		case <-report.C:
			fmt.Fprintln(s.Out, w.total.Load())
		case err := <-ended:
			if ctx.Err() != nil || err == nil {
				return nil
			}
			return fail(exitError, err)
		}
	}
}

func destinationOf(s *cli.Session) (clientv3.Config, error) {
	endpoints := []string{s.Args[0]}
	config, err := configBy(s, endpoints, "dest-")
	if err != nil {
		return config, err
	}
	if strings.HasPrefix(endpoints[0], "https://") && config.TLS == nil {
		config.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return config, nil
}

// run copies the current keys, and then every change.
func (w *copier) run(ctx context.Context, c *clientv3.Client, start int64) error {
	before := max(start-1, 0) // the syncer starts after the revision that it is given
	syncer := mirror.NewSyncer(c, w.from, before)
	if before == 0 {
		pages, faults := syncer.SyncBase(ctx)
		for page := range pages {
			for _, kv := range page.Kvs {
				if _, err := w.dest.Put(ctx, w.key(kv.Key), string(kv.Value)); err != nil {
					return fmt.Errorf("write %q to the mirror: %w", w.key(kv.Key), err)
				}
				w.total.Add(1)
			}
		}
		if err := <-faults; err != nil {
			return err
		}
	}
	for resp := range syncer.SyncUpdates(ctx) {
		if resp.CompactRevision != 0 {
			return rpctypes.ErrCompacted
		}
		if err := resp.Err(); err != nil {
			return err
		}
		if err := w.apply(ctx, resp.Events); err != nil {
			return err
		}
	}
	return errors.New("the watch has ended")
}

// apply writes events: those of one revision in one transaction, unless they are too many.
func (w *copier) apply(ctx context.Context, events []*clientv3.Event) error {
	var ops []clientv3.Op
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		if _, err := w.dest.Txn(ctx).Then(ops...).Commit(); err != nil {
			return fmt.Errorf("write to the mirror: %w", err)
		}
		w.total.Add(int64(len(ops)))
		ops = ops[:0]
		return nil
	}
	last := int64(0)
	for _, e := range events {
		if e.Kv.ModRevision != last || len(ops) >= w.opsMax {
			if err := flush(); err != nil {
				return err
			}
			last = e.Kv.ModRevision
		}
		if e.Type == mvccpb.DELETE {
			ops = append(ops, clientv3.OpDelete(w.key(e.Kv.Key)))
		} else {
			ops = append(ops, clientv3.OpPut(w.key(e.Kv.Key), string(e.Kv.Value)))
		}
	}
	return flush()
}

// key returns the name of a key in the destination.
func (w *copier) key(key []byte) string {
	return w.to + string(bytes.TrimPrefix(key, []byte(w.from)))
}
