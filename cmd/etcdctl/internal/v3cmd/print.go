package v3cmd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/internal/texttable"
)

// Output formats.
const (
	simple   = "simple"
	fields   = "fields"
	jsonText = "json"
	protobuf = "protobuf"
	table    = "table"
)

// common lists the formats of most commands besides simple; some have table as well.
var common = []string{fields, jsonText, protobuf}

// response is a result to print, in each of the formats that its command supports.
type response struct {
	simple func(*printer)
	fields func(*printer)
	json   any
	proto  proto.Message
	table  func() (header []string, rows [][]string)
}

// printer prints responses in the format of --write-out.
type printer struct {
	io.Writer
	out       io.Writer
	format    string
	hex       bool
	valueOnly bool
}

// begin applies the environment variables and returns a printer. It returns an error when
// --write-out names an unknown format, or one that is neither simple nor in supported.
func begin(s *cli.Session, supported ...string) (*printer, error) {
	if err := environment(s); err != nil {
		return nil, err
	}
	p := &printer{out: s.Out, format: s.String("write-out"), hex: s.Bool("hex")}
	switch p.format {
	case simple:
		return p, nil
	case fields, jsonText, protobuf, table, kubeText:
		if slices.Contains(supported, p.format) {
			return p, nil
		}
		return nil, failf(exitFeature, "%s not supported as output format", p.format)
	}
	return nil, failf(exitFeature, "unsupported output format %q: want simple, fields, json, protobuf or table", p.format)
}

// print prints a response with one write.
func (p *printer) print(a response) error {
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
		if p.hex {
			text = hexIDs(text)
		}
		fmt.Fprintf(p, "%s\n", text)
	case protobuf:
		data, err := proto.Marshal(a.proto)
		if err != nil {
			return fail(exitError, err)
		}
		_, _ = p.Write(data) // a bufio.Writer reports the error at Flush
	case table:
		header, rows := a.table()
		texttable.Draw(p, header, rows)
	default:
		a.simple(p)
	}
	if err := buffer.Flush(); err != nil {
		return failf(exitError, "write the response: %w", err)
	}
	return nil
}

// text returns bytes unchanged or, with --hex, each byte as \x and two digits.
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

// id returns an ID in decimal or, with --hex, in hexadecimal.
func (p *printer) id(id uint64) string {
	if p.hex {
		return strconv.FormatUint(id, 16)
	}
	return strconv.FormatUint(id, 10)
}

// leaseID is id for a lease, whose ID is signed.
func (p *printer) leaseID(id int64) string {
	if p.hex {
		return strconv.FormatInt(id, 16)
	}
	return strconv.FormatInt(id, 10)
}

// jsonID matches an ID in JSON. A quote inside a JSON string is escaped, so text in a value cannot
// match.
var jsonID = regexp.MustCompile(`"(cluster_id|member_id|memberID|ID|leader|lease)":(-?\d+)`)

// hexIDs replaces the IDs in JSON by strings in hexadecimal, as etcdctl 3.7 does with --hex.
func hexIDs(text []byte) []byte {
	return jsonID.ReplaceAllFunc(text, func(match []byte) []byte {
		parts := jsonID.FindSubmatch(match)
		if id, err := strconv.ParseUint(string(parts[2]), 10, 64); err == nil {
			return fmt.Appendf(nil, `"%s":"%x"`, parts[1], id)
		}
		id, err := strconv.ParseInt(string(parts[2]), 10, 64)
		if err != nil {
			return match
		}
		return fmt.Appendf(nil, `"%s":"%x"`, parts[1], id)
	})
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
	fmt.Fprintf(p, "\"ClusterID\" : %s\n\"MemberID\" : %s\n\"Revision\" : %d\n\"RaftTerm\" : %d\n",
		p.id(h.GetClusterId()), p.id(h.GetMemberId()), h.GetRevision(), h.GetRaftTerm())
}

// kvFields prints a key-value in the format fields. prefix is "Prev" for the previous one.
func (p *printer) kvFields(prefix string, kv *mvccpb.KeyValue) {
	fmt.Fprintf(p, "\"%sKey\" : %q\n", prefix, string(kv.GetKey()))
	fmt.Fprintf(p, "\"%sCreateRevision\" : %d\n", prefix, kv.GetCreateRevision())
	fmt.Fprintf(p, "\"%sModRevision\" : %d\n", prefix, kv.GetModRevision())
	fmt.Fprintf(p, "\"%sVersion\" : %d\n", prefix, kv.GetVersion())
	fmt.Fprintf(p, "\"%sValue\" : %q\n", prefix, string(kv.GetValue()))
	fmt.Fprintf(p, "\"%sLease\" : %s\n", prefix, p.leaseID(kv.GetLease()))
}
