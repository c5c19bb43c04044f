package v3cmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var importCommand = cli.Command{
	Path: "import", Args: "[file]", Beyond: true,
	Short: "put the keys of an export",
	Long: "Reads the JSON lines that export writes, from standard input without a file. Keys that have the value already are not put\n" +
		"again, so that an interrupted import can be repeated. Leases are not imported.",
	Example: "$ etcdctl import app.jsonl --dry-run\nwould create 1 keys, change 1, leave 5 unchanged\n$ ETCDCTL_API=3 etcdctl import app.jsonl\ncreated 1 keys, changed 1, left 5 unchanged",
	Flags: func(flags *pflag.FlagSet) {
		flags.Bool("dry-run", false, "compare only: print what the import would do")
		flags.Uint("max-txn-ops", 128, "maximum number of `operations` in a transaction")
	},
	Run: importKeys,
}

// batchBytes is the size of the keys and values that a transaction puts, unless it puts only one:
// less than the default --max-request-bytes of a server.
const batchBytes = 1 << 20

// importer puts keys in batches.
type importer struct {
	s                           *cli.Session
	c                           *clientv3.Client
	dryRun                      bool
	batch                       int
	bytes                       int // of keys and values
	keys                        []string
	values                      []string
	created, changed, unchanged int64
	progress                    *cli.Progress
}

func importKeys(s *cli.Session) error {
	if len(s.Args) > 1 {
		return failf(exitArgs, "import takes at most one argument, a file")
	}
	in := s.In
	if len(s.Args) == 1 && s.Args[0] != "-" {
		f, err := os.Open(s.Args[0])
		if err != nil {
			return fail(exitError, err)
		}
		defer f.Close()
		in = f
	}
	return withClient(s, func(c *clientv3.Client) error {
		m := &importer{s: s, c: c, dryRun: s.Bool("dry-run"), batch: int(max(value(s.Flags.GetUint("max-txn-ops")), 1))}
		m.progress = s.StartProgress(func(done int64, elapsed time.Duration) string {
			return fmt.Sprintf("%d keys read, %.0f/s", done, float64(done)/max(elapsed.Seconds(), 1))
		})
		err := m.readAll(in)
		m.progress.Stop()
		if err != nil {
			return err
		}
		verbs := [...]any{"created", "changed", "left"}
		if m.dryRun {
			verbs = [...]any{"would create", "change", "leave"}
		}
		fmt.Fprintf(s.Out, "%s %d keys, %s %d, %s %d unchanged\n", verbs[0], m.created, verbs[1], m.changed, verbs[2], m.unchanged)
		return nil
	})
}

// readAll reads the lines and puts their keys.
func (m *importer) readAll(in io.Reader) error {
	lines := bufio.NewReader(in)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return m.flush()
		} else if err != nil && !errors.Is(err, io.EOF) {
			return fail(exitInput, err)
		}
		header, key, text, err := parseExport(number, line)
		if err != nil {
			return fail(exitInput, err)
		}
		if header.Format != 0 {
			continue
		}
		size := len(key) + len(text)
		if len(m.keys) >= m.batch || m.bytes+size > batchBytes {
			if err := m.flush(); err != nil {
				return err
			}
		}
		m.keys, m.values, m.bytes = append(m.keys, key), append(m.values, text), m.bytes+size
		m.progress.Add(1)
	}
}

// flush compares the gathered keys with the store, and puts those that differ.
func (m *importer) flush() error {
	if len(m.keys) == 0 {
		return nil
	}
	ctx, cancel := limited(m.s)
	defer cancel()
	gets := make([]clientv3.Op, len(m.keys))
	for i, key := range m.keys {
		gets[i] = clientv3.OpGet(key)
	}
	r, err := m.c.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return fail(exitError, err)
	}
	var puts []clientv3.Op
	for i, key := range m.keys {
		kvs := r.Responses[i].GetResponseRange().GetKvs()
		switch {
		case len(kvs) == 0:
			m.created++
		case string(kvs[0].GetValue()) == m.values[i]:
			m.unchanged++
			continue
		default:
			m.changed++
		}
		puts = append(puts, clientv3.OpPut(key, m.values[i]))
	}
	m.keys, m.values, m.bytes = m.keys[:0], m.values[:0], 0
	if m.dryRun || len(puts) == 0 {
		return nil
	}
	if _, err := m.c.Txn(ctx).Then(puts...).Commit(); err != nil {
		return fail(exitError, err)
	}
	return nil
}
