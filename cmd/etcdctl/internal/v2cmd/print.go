package v2cmd

import (
	"encoding/json"
	"fmt"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/v2client"
)

// Output formats.
const (
	simple   = "simple"
	extended = "extended"
	jsonText = "json"
)

// printResponse prints a response in the format of --output. As in etcdctl an unknown format is
// reported only here, after the request, and the exit code is 0.
func printResponse(s *cli.Session, r *v2client.Response) {
	switch format := s.String("output"); format {
	case simple:
		printSimple(s, r)
	case extended:
		printExtended(s, r)
	case jsonText:
		text, err := json.Marshal(r)
		if err != nil {
			panic(err) // strings and numbers always encode
		}
		fmt.Fprintf(s.Out, "%s\n", text)
	default:
		fmt.Fprintf(s.Err, "Unsupported output format: %s\n", format)
	}
}

// printSimple prints the value, or the previous value of a deleted key.
func printSimple(s *cli.Session, r *v2client.Response) {
	switch {
	case r.Action != "delete":
		fmt.Fprintln(s.Out, r.Node.Value)
	case r.PrevNode != nil:
		fmt.Fprintln(s.Out, "PrevNode.Value:", r.PrevNode.Value)
	}
}

func printExtended(s *cli.Session, r *v2client.Response) {
	fmt.Fprintf(s.Out, "Key: %s\nCreated-Index: %d\nModified-Index: %d\n", r.Node.Key, r.Node.CreatedIndex, r.Node.ModifiedIndex)
	if r.PrevNode != nil {
		fmt.Fprintf(s.Out, "PrevNode.Value: %s\n", r.PrevNode.Value)
	}
	fmt.Fprintf(s.Out, "TTL: %d\nIndex: %d\n", r.Node.TTL, r.Index)
	if r.Action != "delete" {
		fmt.Fprintf(s.Out, "\n%s\n", r.Node.Value)
	}
}

// printDir prints the response of a command on a directory; the format simple prints nothing.
func printDir(s *cli.Session, r *v2client.Response) {
	if s.String("output") != simple {
		printResponse(s, r)
	}
}
