package v3cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var watchCommand = cli.Command{
	Path: "watch", Args: "[key] [range end] [-- program [arguments]]",
	Short: "watch events on a key, or on the keys from [key] up to [range end]",
	Long: "Runs until interrupted. ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END replace the arguments [key] and [range end].\n" +
		"The program is run for each event, with ETCD_WATCH_REVISION, ETCD_WATCH_KEY, ETCD_WATCH_EVENT_TYPE and ETCD_WATCH_VALUE set.\n" +
		"With -i, each line of standard input starts a watch (`watch [options] key`) or requests the progress (`progress`).",
	Example: "$ etcdctl watch /app/ --prefix\nPUT\n/app/mode\nblue",
	Flags: func(flags *pflag.FlagSet) {
		flags.BoolP("interactive", "i", false, "read watch requests from standard input")
		watchFlags(flags)
	},
	Run: runWatch,
}

func watchFlags(flags *pflag.FlagSet) {
	flags.Bool("prefix", false, "watch the keys that begin with [key]")
	flags.Int64("rev", 0, "start with the events of this `revision`; 0 means the next event")
	flags.Bool("prev-kv", false, "print the key-value pair before the event as well")
	flags.Bool("progress-notify", false, "receive periodic progress notifications from the server")
}

// watcher prints the events of watches.
type watcher struct {
	session *cli.Session
	printer *printer
	kube    *kubeView // nil unless the format is kube
	client  *clientv3.Client
	writing sync.Mutex // guards printer, which the watches of an interactive session share
}

func runWatch(s *cli.Session) error {
	p, err := begin(s, append(slices.Clone(common), kubeText)...)
	if err != nil {
		return err
	}
	w := &watcher{session: s, printer: p}
	if w.kube, err = newKubeView(s); err != nil {
		return err
	}
	interactive := s.Bool("interactive")
	var request watchRequest
	if !interactive {
		if request, err = w.request(s.Flags, s.Args, s.Dash); err != nil {
			return err
		}
	}
	if w.client, err = connect(s); err != nil {
		return err
	}
	defer w.client.Close()
	if interactive {
		return w.interact(s.In)
	}
	if err := w.show(request.start(s.Context, w.client), request.program); err != nil {
		return err
	}
	return failf(exitInterrupted, "watch is canceled by the server")
}

// watchRequest is one watch, and the program to run for each of its events.
type watchRequest struct {
	key     string
	opts    []clientv3.OpOption
	program []string
}

func (r watchRequest) start(ctx context.Context, c *clientv3.Client) clientv3.WatchChan {
	return c.Watch(clientv3.WithRequireLeader(ctx), r.key, r.opts...)
}

var errRangeAndPrefix = errors.New("`range_end` and `--prefix` are mutually exclusive")

// watchRange returns the key and the range end: the arguments before "--", or the environment
// variables in their place.
func (w *watcher) watchRange(args []string) ([]string, error) {
	key, end := w.session.Getenv("ETCDCTL_WATCH_KEY"), w.session.Getenv("ETCDCTL_WATCH_RANGE_END")
	switch {
	case key == "" && end != "":
		return nil, failf(exitArgs, "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=%q", end)
	case key != "" && len(args) > 0:
		return nil, failf(exitArgs, "bad number of arguments (found conflicting environment key)")
	case key != "" && end != "":
		return []string{key, end}, nil
	case key != "":
		return []string{key}, nil
	case len(args) == 0:
		return nil, failf(exitArgs, "bad number of arguments")
	}
	return args[:min(len(args), 2)], nil // etcdctl ignores further arguments
}

// request returns the watch that arguments describe. The arguments from dash on, if dash is not -1,
// are the program.
func (w *watcher) request(flags *pflag.FlagSet, args []string, dash int) (r watchRequest, err error) {
	if dash >= 0 {
		args, r.program = args[:dash], args[dash:]
		if len(r.program) == 0 {
			return r, failf(exitArgs, "bad number of arguments (found separator --, but no commands)")
		}
	}
	if args, err = w.watchRange(args); err != nil {
		return r, err
	}
	prefix := value(flags.GetBool("prefix"))
	if len(args) == 2 && prefix {
		return r, fail(exitArgs, errRangeAndPrefix)
	}
	r.key = args[0]
	r.opts = []clientv3.OpOption{clientv3.WithRev(value(flags.GetInt64("rev")))}
	switch {
	case len(args) == 2:
		r.opts = append(r.opts, clientv3.WithRange(args[1]))
	case prefix && r.key == "":
		r.key = "\x00"
		r.opts = append(r.opts, clientv3.WithFromKey())
	case prefix:
		r.opts = append(r.opts, clientv3.WithPrefix())
	}
	if value(flags.GetBool("prev-kv")) {
		r.opts = append(r.opts, clientv3.WithPrevKV())
	}
	if value(flags.GetBool("progress-notify")) {
		r.opts = append(r.opts, clientv3.WithProgressNotify())
	}
	return r, nil
}

// show prints the events of a watch until the server ends it.
func (w *watcher) show(changes clientv3.WatchChan, program []string) error {
	for r := range changes {
		if err := w.print(r); err != nil {
			return err
		}
		if len(program) == 0 {
			continue
		}
		for _, e := range r.Events {
			if err := w.run(program, r.Header, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// print prints a response. Responses without events, of a progress notification or the end of the
// watch, have their text and, in formats that have one, a response, as etcdctl prints them.
func (w *watcher) print(r clientv3.WatchResponse) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	if r.Canceled {
		fmt.Fprintf(w.session.Err, "watch was canceled (%v)\n", r.Err())
	}
	if r.IsProgressNotify() {
		fmt.Fprintf(w.session.Out, "progress notify: %d\n", r.Header.GetRevision())
	}
	if w.kube != nil && len(r.Events) == 0 {
		return nil
	}
	if w.kube != nil {
		a, err := w.kube.events(r.Events)
		if err != nil {
			return err
		}
		return w.printer.print(a)
	}
	if r.Events == nil {
		r.Events = []*clientv3.Event{} // [] in JSON, as etcdctl prints it
	}
	return w.printer.print(watchResponse(&r))
}

// run runs the program for one event and waits for it, so that the programs run in the order of the
// events.
func (w *watcher) run(program []string, header *etcdserverpb.ResponseHeader, e *clientv3.Event) error {
	cmd := exec.CommandContext(w.session.Context, program[0], program[1:]...)
	cmd.Env = append(os.Environ(),
		fmt.Sprintf("ETCD_WATCH_REVISION=%d", header.GetRevision()),
		fmt.Sprintf("ETCD_WATCH_EVENT_TYPE=%q", e.Type.String()),
		fmt.Sprintf("ETCD_WATCH_KEY=%q", string(e.Kv.GetKey())),
		fmt.Sprintf("ETCD_WATCH_VALUE=%q", string(e.Kv.GetValue())))
	cmd.Stdout, cmd.Stderr = w.session.Out, w.session.Err
	if err := cmd.Run(); err != nil {
		return &cli.Exit{Code: exitError, Message: fmt.Sprintf("command %q error (%v)\n", program, err)}
	}
	return nil
}

// interact starts a watch for each line of the input.
func (w *watcher) interact(in io.Reader) error {
	lines := bufio.NewReader(in)
	ctx := clientv3.WithRequireLeader(w.session.Context)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return failf(exitInput, "Error reading watch request line: %w", err) //nolint:revive,staticcheck // etcdctl's own words
		}
		words, err := splitWords(strings.TrimSpace(line))
		switch {
		case err != nil:
			fmt.Fprintf(w.session.Err, "Invalid command %s (%v)\n", strings.TrimSpace(line), err)
		case len(words) == 0:
		case words[0] == "progress":
			if err := w.client.RequestProgress(ctx); err != nil {
				fmt.Fprintf(w.session.Err, "progress request failed: %v\n", err)
			}
		case words[0] != "watch":
			fmt.Fprintf(w.session.Err, "Invalid command %s (only support watch)\n", strings.TrimSpace(line))
		default:
			r, err := w.parse(words[1:])
			var exit *cli.Exit
			if errors.As(err, &exit) {
				return err
			}
			if err != nil {
				fmt.Fprintf(w.session.Err, "Invalid command %s (%v)\n", strings.TrimSpace(line), err)
				continue
			}
			changes := r.start(ctx, w.client)
			go func() {
				var exit *cli.Exit
				if err := w.show(changes, r.program); errors.As(err, &exit) {
					fmt.Fprint(w.session.Err, exit.Message)
				}
			}()
		}
	}
}

// parse parses a line of an interactive session, without the word watch.
func (w *watcher) parse(words []string) (watchRequest, error) {
	flags := pflag.NewFlagSet("watch", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	watchFlags(flags)
	if err := flags.Parse(words); err != nil {
		return watchRequest{}, err
	}
	if len(slices.DeleteFunc(slices.Clone(flags.Args()), func(a string) bool { return a == "" })) == 0 && w.session.Getenv("ETCDCTL_WATCH_KEY") == "" && !value(flags.GetBool("prefix")) {
		return watchRequest{}, errors.New("command type or key is not provided")
	}
	r, err := w.request(flags, flags.Args(), flags.ArgsLenAtDash())
	if errors.Is(err, errRangeAndPrefix) {
		return r, errRangeAndPrefix // the session continues; other errors in the arguments end it
	}
	return r, err
}

func watchResponse(r *clientv3.WatchResponse) response {
	return response{
		json:  r,
		proto: &etcdserverpb.WatchResponse{Header: r.Header, Canceled: r.Canceled, CompactRevision: r.CompactRevision, Events: r.Events},
		simple: func(p *printer) {
			for _, e := range r.Events {
				fmt.Fprintln(p, e.Type)
				if e.PrevKv != nil {
					p.kv(e.PrevKv)
				}
				p.kv(e.Kv)
			}
		},
		fields: func(p *printer) {
			p.header(r.Header)
			for _, e := range r.Events {
				fmt.Fprintf(p, "\"Type\" : %s\n", e.Type)
				if e.PrevKv != nil {
					p.kvFields("Prev", e.PrevKv)
				}
				p.kvFields("", e.Kv)
			}
		},
	}
}
