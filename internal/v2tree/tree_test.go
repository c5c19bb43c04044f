package v2tree

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"cairn/internal/kv"
)

// TestTranscripts runs testdata/tree. Every block is
//
//	do        commands of one batch, one per line; see parse
//	get       PATH [recursive], one per line
//	expire    [advance=DURATION] and what comes due
//	tables    tables d and t
//	events    from=REVISION, as watchers will read them
//	reopen    from disk
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/tree", func(t *testing.T, path string) {
		s := newState(t)
		defer func() { s.close() }()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			var out strings.Builder
			switch d.Cmd {
			case "do":
				s.begin()
				for _, line := range strings.Split(d.Input, "\n") {
					s.do(&out, line)
				}
				s.commit()
			case "get":
				for _, line := range strings.Split(d.Input, "\n") {
					path, recursive := strings.CutSuffix(line, " recursive")
					n, err := s.get(path, recursive)
					if err != nil {
						fmt.Fprintln(&out, err)
						continue
					}
					printNode(&out, "", n)
				}
			case "expire":
				if d.HasArg("advance") {
					var advance string
					d.ScanArgs(t, "advance", &advance)
					by, err := time.ParseDuration(advance)
					s.check(err)
					s.now += kv.ClusterTime(by)
				}
				s.expireDue(2, func(res Result) { printResult(&out, res) })
			case "events":
				var from int64
				d.ScanArgs(t, "from", &from)
				_, err := s.store.History(from, s.store.Head().Revision, func(e *kv.Event) bool {
					printEvent(&out, e)
					return true
				})
				s.check(err)
			case "tables":
				out.WriteString(s.tables())
			case "reopen":
				s.reopen()
			default:
				t.Fatalf("unknown command %q", d.Cmd)
			}
			return out.String()
		})
	})
}

func (s *state) do(out *strings.Builder, line string) {
	f := strings.Fields(line)
	switch f[0] {
	case "v3put":
		s.put(f[1], f[2])
		return
	case "v3del":
		s.del(f[1], strings.Join(f[2:], ""))
		return
	}
	c := parse(s.t, f)
	res, err := s.apply(&c)
	if err != nil {
		fmt.Fprintln(out, err)
		return
	}
	printResult(out, res)
}

// parse parses KIND PATH, and value=, ttl=, prev=, index=, dir, recursive, refresh.
func parse(t *testing.T, f []string) Command {
	kinds := map[string]Kind{
		"set": KindSet, "create": KindCreate, "post": KindCreateInOrder, "update": KindUpdate,
		"swap": KindCompareAndSwap, "delete": KindDelete, "cad": KindCompareAndDelete,
	}
	c := Command{Kind: kinds[f[0]], Path: []byte(f[1])}
	for _, arg := range f[2:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "dir":
			c.Dir = true
		case "recursive":
			c.Recursive = true
		case "refresh":
			c.Refresh = true
		case "value":
			c.Value = []byte(value)
		case "prev":
			c.PrevValue = []byte(value)
		case "index":
			c.PrevIndex, _ = strconv.ParseUint(value, 10, 64)
		case "ttl":
			var err error
			if c.TTL, err = time.ParseDuration(value); err != nil {
				t.Fatal(err)
			}
			c.HasTTL = true
		default:
			t.Fatalf("unknown argument %q", arg)
		}
	}
	return c
}

func printResult(out *strings.Builder, res Result) {
	if res.Action == kv.ActionNone {
		fmt.Fprintln(out, "nothing")
		return
	}
	fmt.Fprintf(out, "%d %s", res.Index, res.Action)
	if res.Created {
		out.WriteString(" (created)")
	}
	out.WriteString(": ")
	printNode(out, "", res.Node)
	if res.HasPrev {
		printNode(out, "  was ", res.Prev)
	}
}

func printNode(out *strings.Builder, indent string, n Node) {
	fmt.Fprintf(out, "%s%s", indent, n.Key)
	if n.Dir {
		out.WriteString("/")
	}
	if n.HasValue {
		fmt.Fprintf(out, " = %q", n.Value)
	}
	if n.Created != 0 {
		fmt.Fprintf(out, " [%d, %d]", n.Modified, n.Created)
	}
	if n.Expires {
		fmt.Fprintf(out, " ttl %v", n.Left)
	}
	out.WriteString("\n")
	for _, child := range n.Nodes {
		printNode(out, indent+"  ", child)
	}
}

func printEvent(out *strings.Builder, e *kv.Event) {
	what, kind := "put", "key"
	if e.Type == kv.EventDelete {
		what = "delete"
	}
	if e.Dir {
		kind = "directory"
	}
	fmt.Fprintf(out, "%d/%d %s (%s of %s) %s", e.Record.Mod.Main, e.Record.Mod.Sub, e.Action, what, kind, e.Key)
	version := func(r kv.Record) {
		if !r.Deleted {
			fmt.Fprintf(out, " created %d%s", r.CreateRevision, at(r.Deadline))
		}
		if len(r.Value) > 0 {
			fmt.Fprintf(out, " = %s", r.Value)
		}
	}
	version(e.Record)
	if !e.Prev.Mod.IsZero() {
		fmt.Fprintf(out, ", was of %d:", e.Prev.Mod.Main)
		version(e.Prev)
	}
	out.WriteString("\n")
}
