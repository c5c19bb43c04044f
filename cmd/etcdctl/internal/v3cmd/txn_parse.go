package v3cmd

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

// quoted matches a string in double quotes, in Go syntax.
const quoted = `("(?:[^"\\]|\\.)*")`

var comparison = regexp.MustCompile(`^(\w+)\s*\(\s*` + quoted + `\s*\)\s*(=|!=|<|>)\s*` + quoted + `$`)

// parseCompare reads a comparison, such as mod("k") > "0".
func parseCompare(line string) (cmp clientv3.Cmp, err error) {
	parts := comparison.FindStringSubmatch(line)
	if parts == nil {
		return cmp, failf(exitInput, `malformed comparison: %s: want TARGET("KEY") OPERATOR "VALUE", as in mod("k") > "0"`, line)
	}
	target, operator := parts[1], parts[3]
	key, err := strconv.Unquote(parts[2])
	if err != nil {
		return cmp, failf(exitInput, "malformed comparison: %s: key %s: %w", line, parts[2], err)
	}
	text, err := strconv.Unquote(parts[4])
	if err != nil {
		return cmp, failf(exitInput, "malformed comparison: %s: value %s: %w", line, parts[4], err)
	}
	number, notNumber := strconv.ParseInt(text, 10, 64)
	switch target {
	case "ver", "version":
		cmp = clientv3.Compare(clientv3.Version(key), operator, number)
	case "c", "create":
		cmp = clientv3.Compare(clientv3.CreateRevision(key), operator, number)
	case "m", "mod":
		cmp = clientv3.Compare(clientv3.ModRevision(key), operator, number)
	case "val", "value":
		notNumber = nil
		cmp = clientv3.Compare(clientv3.Value(key), operator, text)
	case "lease":
		var id clientv3.LeaseID
		id, notNumber = parseLease(text)
		cmp = clientv3.Compare(clientv3.LeaseValue(key), operator, id)
	default:
		return cmp, failf(exitInput, "malformed comparison: %s (unknown target %s)", line, target)
	}
	if notNumber != nil {
		return cmp, failf(exitInput, "invalid txn compare request: %s", line)
	}
	return cmp, nil
}

// parseOp reads a request, which is a command line of put, get or del.
func parseOp(line string) (op clientv3.Op, err error) {
	invalid := func(why error) error { return failf(exitInput, "invalid txn request: %s (%w)", line, why) }
	words, err := splitWords(line)
	if err != nil {
		return op, invalid(err)
	}
	makers := map[string]struct {
		flags func(*pflag.FlagSet)
		op    func(*cli.Session) (clientv3.Op, error)
	}{"put": {putFlags, putOp}, "get": {getFlags, getOp}, "del": {delFlags, delOp}}
	maker, ok := makers[words[0]]
	if !ok {
		return op, invalid(fmt.Errorf("unknown request %q: want put, get or del", words[0]))
	}
	flags := pflag.NewFlagSet(words[0], pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	maker.flags(flags)
	if err := flags.Parse(words[1:]); err != nil {
		return op, invalid(err)
	}
	if flags.NArg() == 0 {
		return op, invalid(errors.New("no key"))
	}
	// Without standard input: the value of a put must be in the line.
	return maker.op(&cli.Session{Args: flags.Args(), Flags: flags})
}

// splitWords splits a line at blanks that are not in quotes. Within double quotes Go's escapes are
// recognized, within single quotes none are.
func splitWords(line string) (words []string, err error) {
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		var word strings.Builder
		for line != "" && line[0] != ' ' && line[0] != '\t' {
			switch line[0] {
			case '"':
				literal, err := strconv.QuotedPrefix(line)
				if err != nil {
					return nil, errors.New("a double quote is not closed, or the text that it quotes is not valid")
				}
				text, err := strconv.Unquote(literal)
				if err != nil {
					return nil, err
				}
				word.WriteString(text)
				line = line[len(literal):]
			case '\'':
				end := strings.IndexByte(line[1:], '\'')
				if end < 0 {
					return nil, errors.New("a single quote is not closed")
				}
				word.WriteString(line[1 : 1+end])
				line = line[end+2:]
			default:
				end := strings.IndexAny(line, " \t\"'")
				if end < 0 {
					end = len(line)
				}
				word.WriteString(line[:end])
				line = line[end:]
			}
		}
		words = append(words, word.String())
	}
	return words, nil
}
