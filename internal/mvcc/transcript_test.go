package mvcc

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// TestTranscripts runs testdata/mvcc. Every block is one of
//
//	do        a batch, one command per line (see parser); "abort" before a command
//	          undoes it; "lease ID" makes a lease
//	read      ranges and transactions that only read, from the published store
//	sweep     [limit=N] remove passed tombstones
//	tables    [c] [r] [x] [n] raw contents
//	reopen    from disk
//
// A range is written KEY, FROM..TO, FROM.. (from the key on) or .. (all keys).
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/mvcc", func(t *testing.T, path string) {
		st := newState(t)
		defer func() { st.close() }()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			st.t = t
			var out strings.Builder
			switch d.Cmd {
			case "do":
				st.begin()
				for _, line := range strings.Split(d.Input, "\n") {
					st.play(&out, line)
				}
				st.commit()
			case "read":
				for _, line := range strings.Split(d.Input, "\n") {
					st.playRead(&out, line)
				}
			case "sweep":
				limit := 100
				d.MaybeScanArgs(t, "limit", &limit)
				more, err := st.w.SweepTombstones(limit)
				st.check(err)
				fmt.Fprintf(&out, "more: %v\n", more)
			case "tables":
				for _, arg := range d.CmdArgs {
					st.printTable(&out, storage.Table(arg.Key[0]))
				}
			case "reopen":
				st.reopen()
				h := st.s.Head()
				fmt.Fprintf(&out, "revision %d, compacted %d, %d keys\n", h.Revision, h.CompactRevision, h.Keys())
			default:
				t.Fatalf("unknown command %q", d.Cmd)
			}
			st.checkCounts()
			return out.String()
		})
	})
}

// play runs one line of a do block.
func (st *state) play(out *strings.Builder, line string) {
	p := &parser{t: st.t, words: strings.Fields(line)}
	switch p.peek() {
	case "lease":
		p.next()
		st.grantLease(kv.LeaseID(p.number()))
		return
	case "compact":
		p.next()
		if err := st.w.Compact(p.number()); err != nil {
			fmt.Fprintf(out, "error: %v\n", err)
			return
		}
		fmt.Fprintf(out, "compacted at revision %d\n", st.w.Revision())
		return
	}
	abort := p.take("abort")
	op := p.op()
	st.w.Start()
	res, err := runOne(st.w, &op)
	switch {
	case err != nil:
		st.w.Abort()
		fmt.Fprintf(out, "error: %v\n", err)
		return
	case abort:
		st.w.Abort()
		fmt.Fprintf(out, "aborted, revision %d\n", st.w.Revision())
		return
	}
	st.check(st.w.End())
	printResult(out, "", &res)
}

func runOne(w *Writer, op *Op) (res OpResult, err error) {
	if op.Txn != nil {
		txn, err := w.Txn(op.Txn)
		return OpResult{Txn: &txn}, err
	}
	run := txnRun{r: w, w: w, room: txnResultBytesMax}
	err = run.op(op, &res)
	return res, err
}

func (st *state) playRead(out *strings.Builder, line string) {
	p := &parser{t: st.t, words: strings.Fields(line)}
	op := p.op()
	var res OpResult
	if op.Txn != nil {
		txn, err := st.s.ReadTxn(op.Txn, nil)
		if err != nil {
			fmt.Fprintf(out, "error: %v\n", err)
			return
		}
		res.Txn = &txn
	} else {
		keys := Collector{KeysOnly: op.Range.KeysOnly}
		sum, err := st.s.Range(op.Range, &keys)
		if err != nil {
			fmt.Fprintf(out, "error: %v\n", err)
			return
		}
		res.Range = &RangeResult{Revision: sum.Revision, Keys: keys.Keys, More: sum.More, Count: sum.Count}
	}
	printResult(out, "", &res)
}

func printResult(out *strings.Builder, indent string, r *OpResult) {
	switch {
	case r.Put != nil:
		fmt.Fprintf(out, "%sput at %d", indent, r.Put.Revision)
		if r.Put.Prev != nil {
			fmt.Fprintf(out, ", was %s", showKey(r.Put.Prev))
		}
		out.WriteByte('\n')
	case r.Delete != nil:
		fmt.Fprintf(out, "%sdeleted %d at %d\n", indent, r.Delete.Deleted, r.Delete.Revision)
		for i := range r.Delete.Prev {
			fmt.Fprintf(out, "%s  %s\n", indent, showKey(&r.Delete.Prev[i]))
		}
	case r.Range != nil:
		for i := range r.Range.Keys {
			fmt.Fprintf(out, "%s%s\n", indent, showKey(&r.Range.Keys[i]))
		}
		more := ""
		if r.Range.More {
			more = ", more"
		}
		fmt.Fprintf(out, "%s%d of %d%s, at %d\n", indent, len(r.Range.Keys), r.Range.Count, more, r.Range.Revision)
	case r.Txn != nil:
		branch := "else"
		if r.Txn.Succeeded {
			branch = "then"
		}
		fmt.Fprintf(out, "%s%s, at %d\n", indent, branch, r.Txn.Revision)
		for i := range r.Txn.Results {
			printResult(out, indent+"  ", &r.Txn.Results[i])
		}
	}
}

// showKey prints KEY=VALUE and, in brackets, create and mod revision, version and other fields that
// are set.
func showKey(k *KeyRecord) string {
	s := fmt.Sprintf("%s=%s [c%d m%v v%d", k.Key, k.Value, k.CreateRevision, k.Mod, k.Version)
	if k.Lease != 0 {
		s += fmt.Sprintf(" lease %d", k.Lease)
	}
	if k.Deadline != 0 {
		s += fmt.Sprintf(" deadline %d", k.Deadline)
	}
	return s + "]"
}

func showVersion(r *kv.Record) string {
	if r.Deleted {
		return fmt.Sprintf("deleted [m%v]", r.Mod)
	}
	return strings.TrimPrefix(showKey(&KeyRecord{Record: *r}), "=")
}

func (st *state) printTable(out *strings.Builder, table storage.Table) {
	st.walkTable(table, func(key, value []byte) {
		switch table {
		case storage.TableCurrent:
			n, err := decodeNode(value)
			st.check(err)
			fmt.Fprintf(out, "c %s: %s, depth %d, path %v\n", key, showVersion(&n.Record), n.chain.depth, n.chain.path)
		case storage.TableRevisions:
			rev, err := parseEventKey(append([]byte{'r'}, key...))
			st.check(err)
			e, err := decodeEvent(rev, value)
			st.check(err)
			fmt.Fprintf(out, "r %v: %s %s", rev, e.Key, showVersion(&e.Record))
			if !e.Prev.Mod.IsZero() {
				fmt.Fprintf(out, ", was %s", showVersion(&e.Prev))
			}
			if !e.jump.IsZero() {
				fmt.Fprintf(out, ", jump %v", e.jump)
			}
			out.WriteByte('\n')
		case storage.TableTombstones:
			rev, err := parseEventKey(append([]byte{'x'}, key...))
			st.check(err)
			fmt.Fprintf(out, "x %v: %s\n", rev, value)
		case storage.TableCounts:
			n, _ := binary.Uvarint(value)
			fmt.Fprintf(out, "n %q: %d\n", key, n)
		}
	})
}

// parser reads commands:
//
//	put KEY VALUE [lease=ID] [prev] [ignore-value] [ignore-lease] [recreate] [deadline=N]
//	del RANGE [prev]
//	get RANGE [limit=N] [rev=N] [sort=TARGET:ORDER] [keys] [count] [min-mod=N] …
//	txn if COMPARE, … then COMMAND; … else COMMAND; … end
//
// where COMPARE is TARGET RANGE =|!=|<|> VALUE.
type parser struct {
	t     fataler
	words []string
}

func (p *parser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0]
}

func (p *parser) next() string {
	if len(p.words) == 0 {
		p.t.Fatal("command ends too soon")
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *parser) take(word string) bool {
	if p.peek() == word {
		p.next()
		return true
	}
	return false
}

func (p *parser) number() int64 { return p.parseInt(p.next()) }

func (p *parser) parseInt(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func (p *parser) keyRange() kv.KeyRange {
	w := p.next()
	from, to, isRange := strings.Cut(w, "..")
	switch {
	case !isRange:
		return kv.KeyRange{Key: []byte(w)}
	case to == "":
		return kv.KeyRange{Key: []byte(from), End: []byte{0}}
	default:
		return kv.KeyRange{Key: []byte(from), End: []byte(to)}
	}
}

// options reads the words up to the end of the command.
func (p *parser) options(set func(name, value string)) {
	for len(p.words) > 0 && p.peek() != ";" && p.peek() != "else" && p.peek() != "end" {
		name, value, _ := strings.Cut(p.next(), "=")
		set(name, value)
	}
}

func (p *parser) op() Op {
	switch w := p.next(); w {
	case "put":
		return Op{Put: p.put()}
	case "del":
		op := &DeleteOp{KeyRange: p.keyRange()}
		p.options(func(name, _ string) {
			if name != "prev" {
				p.t.Fatalf("unknown option %q", name)
			}
			op.PrevKV = true
		})
		return Op{Delete: op}
	case "get":
		return Op{Range: p.get()}
	case "txn":
		return Op{Txn: p.txn()}
	default:
		p.t.Fatalf("unknown command %q", w)
		return Op{}
	}
}

func (p *parser) put() *PutOp {
	op := &PutOp{Key: []byte(p.next())}
	if v := p.next(); v != "-" {
		op.Value = []byte(v)
	}
	p.options(func(name, value string) {
		switch name {
		case "lease":
			op.Lease = kv.LeaseID(p.parseInt(value))
		case "deadline":
			op.Deadline = kv.ClusterTime(p.parseInt(value))
		case "prev":
			op.PrevKV = true
		case "ignore-value":
			op.IgnoreValue = true
		case "ignore-lease":
			op.IgnoreLease = true
		case "recreate":
			op.Recreate = true
		default:
			p.t.Fatalf("unknown option %q", name)
		}
	})
	return op
}

var sortTargets = map[string]SortTarget{
	"key": SortByKey, "version": SortByVersion, "create": SortByCreate, "mod": SortByMod, "value": SortByValue,
}

var sortOrders = map[string]SortOrder{"": SortNone, "up": SortAscend, "down": SortDescend}

func (p *parser) get() *RangeOp {
	op := &RangeOp{KeyRange: p.keyRange()}
	numbers := map[string]*int64{
		"limit": &op.Limit, "rev": &op.Revision, "min-mod": &op.MinMod, "max-mod": &op.MaxMod,
		"min-create": &op.MinCreate, "max-create": &op.MaxCreate,
	}
	p.options(func(name, value string) {
		switch {
		case name == "keys":
			op.KeysOnly = true
		case name == "count":
			op.CountOnly = true
		case name == "sort":
			target, order, _ := strings.Cut(value, ":")
			var ok, ok2 bool
			op.Target, ok = sortTargets[target]
			op.Order, ok2 = sortOrders[order]
			if !ok || !ok2 {
				p.t.Fatalf("unknown sort %q", value)
			}
		case numbers[name] != nil:
			*numbers[name] = p.parseInt(value)
		default:
			p.t.Fatalf("unknown option %q", name)
		}
	})
	return op
}

var (
	compareTargets = map[string]CompareTarget{
		"version": CompareVersion, "create": CompareCreate, "mod": CompareMod, "value": CompareValue, "lease": CompareLease,
	}
	compareResults = map[string]CompareResult{
		"=": CompareEqual, "!=": CompareNotEqual, ">": CompareGreater, "<": CompareLess,
	}
)

func (p *parser) txn() *TxnOp {
	t := &TxnOp{}
	if p.take("if") {
		for {
			target, ok := compareTargets[p.next()]
			if !ok {
				p.t.Fatalf("unknown target in %v", p.words)
			}
			c := Compare{Target: target, KeyRange: p.keyRange()}
			if c.Result, ok = compareResults[p.next()]; !ok {
				p.t.Fatalf("unknown comparison in %v", p.words)
			}
			value, more := strings.CutSuffix(p.next(), ",")
			if target == CompareValue {
				c.Value = []byte(value)
			} else {
				c.Number = p.parseInt(value)
			}
			t.Compares = append(t.Compares, c)
			if !more {
				break
			}
		}
	}
	if p.take("then") {
		t.Success = p.ops("else")
	}
	if p.take("else") {
		t.Failure = p.ops("end")
	}
	if !p.take("end") {
		p.t.Fatalf("transaction without end before %v", p.words)
	}
	return t
}

func (p *parser) ops(until string) (ops []Op) {
	for p.peek() != until && p.peek() != "end" {
		ops = append(ops, p.op())
		p.take(";")
	}
	return ops
}
