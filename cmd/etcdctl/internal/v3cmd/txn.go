package v3cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var txnCommand = cli.Command{
	Path:  "txn",
	Short: "process several requests in one transaction",
	Long: "Reads three blocks of lines from standard input, each ended by an empty line: comparisons, the requests to run if all\n" +
		"comparisons hold, and the requests to run otherwise. Each block may be empty. With -i it prompts for each block.\n\n" +
		"A comparison is TARGET(\"KEY\") OPERATOR \"VALUE\". The target is value (val), version (ver), create (c), mod (m) or lease, the\n" +
		"operator =, !=, < or >; a lease's value is its ID in hexadecimal. A request is a command line of put, get or del. Keys and values with blanks are\n" +
		"quoted; within double quotes \\n is a line end.",
	Example: "$ etcdctl txn <<'END'\nversion(\"/lock\") = \"0\"\n\nput /lock \"held by me\"\n\nget /lock\n\nEND\nSUCCESS\n\nOK",
	Flags: func(flags *pflag.FlagSet) {
		flags.BoolP("interactive", "i", false, "prompt for each block")
	},
	Run: runTxn,
}

func runTxn(s *cli.Session) error {
	p, err := begin(s, common...)
	if err != nil {
		return err
	}
	if len(s.Args) > 0 {
		return failf(exitArgs, "txn command does not accept argument")
	}
	in := &blocks{lines: bufio.NewReader(s.In), session: s}
	compares, err := readBlock(in, "compares:", parseCompare)
	if err != nil {
		return err
	}
	then, err := readBlock(in, "success requests (get, put, del):", parseOp)
	if err != nil {
		return err
	}
	otherwise, err := readBlock(in, "failure requests (get, put, del):", parseOp)
	if err != nil {
		return err
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Txn(ctx).If(compares...).Then(then...).Else(otherwise...).Commit()
		if err != nil {
			return fail(exitError, err)
		}
		return p.print(txnResponse((*etcdserverpb.TxnResponse)(r)))
	})
}

// blocks is the input: lines, with an empty one after each block.
type blocks struct {
	lines   *bufio.Reader
	session *cli.Session
}

// readBlock reads the lines up to the next empty one.
func readBlock[T any](b *blocks, prompt string, parse func(string) (T, error)) (list []T, err error) {
	if b.session.Bool("interactive") {
		fmt.Fprintln(b.session.Out, prompt)
	}
	for {
		line, err := b.lines.ReadString('\n')
		switch {
		case errors.Is(err, io.EOF):
			// Not the end of the block: half a transaction from a broken pipe must not be run.
			return nil, failf(exitInput, "standard input ended in the block of %s end each of the three blocks with an empty line", prompt)
		case err != nil:
			return nil, failf(exitInput, "read standard input: %w", err)
		}
		if line = strings.TrimSpace(line); line == "" {
			return list, nil
		}
		item, err := parse(line)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
}

func txnResponse(r *etcdserverpb.TxnResponse) response {
	return response{
		json: txnJSON(r), proto: r,
		simple: func(p *printer) {
			if r.Succeeded {
				fmt.Fprintln(p, "SUCCESS")
			} else {
				fmt.Fprintln(p, "FAILURE")
			}
			for _, op := range r.Responses {
				fmt.Fprintln(p)
				opResponse(op).simple(p)
			}
		},
		fields: func(p *printer) {
			p.header(r.Header)
			fmt.Fprintf(p, "\"Succeeded\" : %t\n", r.Succeeded)
			for _, op := range r.Responses {
				opResponse(op).fields(p)
			}
		},
	}
}

// txnView is a TxnResponse as etcdctl 3.7 writes it in JSON.
type txnView struct {
	Header    *etcdserverpb.ResponseHeader `json:"header,omitempty"`
	Succeeded bool                         `json:"succeeded,omitempty"`
	Responses []opView                     `json:"responses,omitempty"`
}

// opView holds one response under the name of its field in the protocol.
type opView struct{ Response map[string]any }

func txnJSON(r *etcdserverpb.TxnResponse) txnView {
	view := txnView{Header: r.Header, Succeeded: r.Succeeded}
	for _, op := range r.Responses {
		response := map[string]any{}
		switch r := op.Response.(type) {
		case *etcdserverpb.ResponseOp_ResponsePut:
			response["response_put"] = r.ResponsePut
		case *etcdserverpb.ResponseOp_ResponseRange:
			response["response_range"] = r.ResponseRange
		case *etcdserverpb.ResponseOp_ResponseDeleteRange:
			response["response_delete_range"] = r.ResponseDeleteRange
		case *etcdserverpb.ResponseOp_ResponseTxn:
			response["response_txn"] = txnJSON(r.ResponseTxn)
		}
		view.Responses = append(view.Responses, opView{response})
	}
	return view
}

// opResponse is the response to one request of a transaction.
func opResponse(op *etcdserverpb.ResponseOp) response {
	switch r := op.Response.(type) {
	case *etcdserverpb.ResponseOp_ResponsePut:
		return putResponse(r.ResponsePut)
	case *etcdserverpb.ResponseOp_ResponseRange:
		return getResponse(r.ResponseRange)
	case *etcdserverpb.ResponseOp_ResponseDeleteRange:
		return delResponse(r.ResponseDeleteRange)
	case *etcdserverpb.ResponseOp_ResponseTxn:
		return txnResponse(r.ResponseTxn)
	}
	unknown := func(p *printer) { fmt.Fprintf(p, "unexpected response of type %T\n", op.Response) }
	return response{simple: unknown, fields: unknown}
}
