package v3cmd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"cairn/cmd/etcdctl/internal/cli"
)

// Output formats.
const (
	simple   = "simple"
	fields   = "fields"
	jsonText = "json"
	protobuf = "protobuf"
	table    = "table"
)

// answer is something to print, in each of the formats that it has.
type answer struct {
	simple func(*printer)
	fields func(*printer)
	json   any
	proto  proto.Message
	table  func() (header []string, rows [][]string)
}

// printer prints in the format that was asked for.
type printer struct {
	io.Writer
	out       io.Writer
	format    string
	hex       bool
	valueOnly bool
}

// begin reads the environment and returns a printer, or an error when there is no such format or
// the command, which has these besides simple, does not have it.
func begin(s *cli.Session, has ...string) (*printer, error) {
	if err := environment(s); err != nil {
		return nil, err
	}
	p := &printer{out: s.Out, format: s.String("write-out"), hex: s.Bool("hex")}
	switch p.format {
	case simple:
		return p, nil
	case fields, jsonText, protobuf, table:
		for _, format := range has {
			if format == p.format {
				return p, nil
			}
		}
		return nil, failf(exitFeature, "%s not supported as output format", p.format)
	}
	return nil, failf(exitFeature, "unsupported output format")
}

// formats of nearly every command; some have table, too.
var common = []string{fields, jsonText, protobuf}

// print prints an answer in one go.
func (p *printer) print(a answer) error {
	buffer := bufio.NewWriter(p.out)
	p.Writer = buffer
	switch p.format {
	case fields:
		a.fields(p)
	case jsonText:
		text, err := json.Marshal(a.json)
		if err != nil {
			return fail(exitError, err)
		}
		fmt.Fprintf(p, "%s\n", text)
	case protobuf:
		data, err := proto.Marshal(a.proto)
		if err != nil {
			return fail(exitError, err)
		}
		_, _ = p.Write(data) // a bufio.Writer tells at Flush
	case table:
		drawTable(p, a.table)
	default:
		a.simple(p)
	}
	if err := buffer.Flush(); err != nil {
		return failf(exitError, "write the answer: %w", err)
	}
	return nil
}

// text shows bytes as they are or, with --hex, each as \x and two digits.
func (p *printer) text(b []byte) string {
	if !p.hex {
		return string(b)
	}
	var t strings.Builder
	for _, c := range b {
		fmt.Fprintf(&t, `\x%02x`, c)
	}
	return t.String()
}

// kv prints a key and its value on a line each.
func (p *printer) kv(kv *mvccpb.KeyValue) {
	if !p.valueOnly {
		fmt.Fprintln(p, p.text(kv.GetKey()))
	}
	fmt.Fprintln(p, p.text(kv.GetValue()))
}

func (p *printer) kvs(list []*mvccpb.KeyValue) {
	for _, kv := range list {
		p.kv(kv)
	}
}

// header prints a response's header in the format fields.
func (p *printer) header(h *etcdserverpb.ResponseHeader) {
	fmt.Fprintf(p, "\"ClusterID\" : %d\n\"MemberID\" : %d\n\"Revision\" : %d\n\"RaftTerm\" : %d\n",
		h.GetClusterId(), h.GetMemberId(), h.GetRevision(), h.GetRaftTerm())
}

// kvFields prints a key in the format fields; prefix is "Prev" for what it was before.
func (p *printer) kvFields(prefix string, kv *mvccpb.KeyValue) {
	fmt.Fprintf(p, "\"%sKey\" : %q\n", prefix, string(kv.GetKey()))
	fmt.Fprintf(p, "\"%sCreateRevision\" : %d\n", prefix, kv.GetCreateRevision())
	fmt.Fprintf(p, "\"%sModRevision\" : %d\n", prefix, kv.GetModRevision())
	fmt.Fprintf(p, "\"%sVersion\" : %d\n", prefix, kv.GetVersion())
	fmt.Fprintf(p, "\"%sValue\" : %q\n", prefix, string(kv.GetValue()))
	fmt.Fprintf(p, "\"%sLease\" : %d\n", prefix, kv.GetLease())
}

// drawTable draws a table: the header centred, the cells to the right.
func drawTable(w io.Writer, content func() (header []string, rows [][]string)) {
	header, rows := content()
	widths := make([]int, len(header))
	for i := range header {
		widths[i] = len([]rune(header[i]))
		for _, row := range rows {
			widths[i] = max(widths[i], len([]rune(row[i])))
		}
	}
	line := "+"
	for _, width := range widths {
		line += strings.Repeat("-", width+2) + "+"
	}
	fmt.Fprintln(w, line)
	for i, title := range header {
		space := widths[i] - len([]rune(title))
		fmt.Fprintf(w, "| %s%s%s ", strings.Repeat(" ", space/2), title, strings.Repeat(" ", space-space/2))
	}
	fmt.Fprintf(w, "|\n%s\n", line)
	for _, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(w, "| %*s ", widths[i], cell)
		}
		fmt.Fprintln(w, "|")
	}
	if len(rows) > 0 {
		fmt.Fprintln(w, line)
	}
}
