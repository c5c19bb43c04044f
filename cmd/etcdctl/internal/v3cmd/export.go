package v3cmd

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var exportCommand = cli.Command{
	Path: "export", Args: "[prefix]", Beyond: true,
	Short: "write keys as JSON lines, all as of one revision",
	Long: "The first line names the revision and the prefix; each further line is a key. Keys and values that are not valid UTF-8 are in\n" +
		"base64 (key_base64, value_base64). --resume completes a file that was interrupted, at the revision of its first line.",
	Example: "$ etcdctl export /app/ --file app.jsonl\nexported 2 keys at revision 9 to app.jsonl\n$ etcdctl import app.jsonl --dry-run",
	Flags: func(flags *pflag.FlagSet) {
		flags.String("file", "", "write to this `file` instead of standard output")
		flags.Bool("resume", false, "continue the file given with --file")
		flags.Int64("rev", 0, "read at this `revision`; 0 means the current one")
	},
	Run: export, Complete: completeKeys,
}

// exportHeader is the first line of an export.
type exportHeader struct {
	Format   int    `json:"etcdctl_export"`
	Revision int64  `json:"revision"`
	Prefix   string `json:"prefix"`
}

// exportFormat is the version of the format.
const exportFormat = 1

// exportLine is a key of an export.
type exportLine struct {
	Key            *string `json:"key,omitempty"`
	KeyBase64      []byte  `json:"key_base64,omitempty"`
	Value          *string `json:"value,omitempty"`
	ValueBase64    []byte  `json:"value_base64,omitempty"`
	CreateRevision int64   `json:"create_revision,omitempty"`
	ModRevision    int64   `json:"mod_revision,omitempty"`
	Version        int64   `json:"version,omitempty"`
	Lease          string  `json:"lease,omitempty"`
}

func lineOf(kv *mvccpb.KeyValue) exportLine {
	l := exportLine{CreateRevision: kv.GetCreateRevision(), ModRevision: kv.GetModRevision(), Version: kv.GetVersion()}
	if key := kv.GetKey(); utf8.Valid(key) {
		l.Key = new(string(key))
	} else {
		l.KeyBase64 = key
	}
	if text := kv.GetValue(); utf8.Valid(text) {
		l.Value = new(string(text))
	} else {
		l.ValueBase64 = text
	}
	if lease := kv.GetLease(); lease != 0 {
		l.Lease = fmt.Sprintf("%x", lease)
	}
	return l
}

// keyValue returns the key and the value of a line.
func (l exportLine) keyValue() (key, text string, err error) {
	switch {
	case l.Key != nil:
		key = *l.Key
	case len(l.KeyBase64) > 0:
		key = string(l.KeyBase64)
	}
	if key == "" {
		return "", "", errors.New("no key: want \"key\" or \"key_base64\"")
	}
	if l.Value != nil {
		return key, *l.Value, nil
	}
	return key, string(l.ValueBase64), nil
}

// parseExport parses a line of an export by its number: the first one may be a header, whose format
// is then not 0; every other line is a key.
func parseExport(number int, line []byte) (header exportHeader, key, text string, err error) {
	if number == 1 && json.Unmarshal(line, &header) == nil && header.Format != 0 {
		if header.Format != exportFormat {
			err = fmt.Errorf("line 1: export format %d: this etcdctl reads format %d", header.Format, exportFormat)
		}
		return header, "", "", err
	}
	var l exportLine
	if err = json.Unmarshal(line, &l); err == nil {
		key, text, err = l.keyValue()
	}
	if err != nil {
		err = fmt.Errorf("line %d: %w", number, err)
	}
	return exportHeader{}, key, text, err
}

func export(s *cli.Session) error {
	prefix, err := prefixArg(s, "export")
	if err != nil {
		return err
	}
	path := s.String("file")
	if s.Bool("resume") && path == "" {
		return failf(exitArgs, "--resume needs --file: the file to continue")
	}
	return withClient(s, func(c *clientv3.Client) error {
		if path == "" {
			_, err := exportTo(s, s.Out, newPages(c, prefix, s.Int64("rev")), exportHeader{Prefix: prefix}, true)
			return err
		}
		return exportFile(s, c, path, prefix)
	})
}

// exportFile writes to a file, or continues it.
func exportFile(s *cli.Session, c *clientv3.Client, path, prefix string) (err error) {
	flags := os.O_RDWR | os.O_CREATE | os.O_EXCL
	if s.Bool("resume") {
		flags = os.O_RDWR
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, os.ErrExist) {
		return failf(exitError, "%s exists: remove it, or continue it with --resume", path)
	} else if err != nil {
		return fail(exitError, err)
	}
	defer func() {
		if closed := f.Close(); err == nil && closed != nil {
			err = fail(exitError, closed)
		}
	}()
	header := exportHeader{Prefix: prefix}
	read := newPages(c, prefix, s.Int64("rev"))
	fresh := true
	if s.Bool("resume") {
		last, found, err := resumePoint(f)
		if err != nil {
			return failf(exitError, "continue %s: %w", path, err)
		}
		if err := sameExport(s, found, prefix); err != nil {
			return failf(exitError, "continue %s: %w", path, err)
		}
		header, fresh = found, false
		read = newPages(c, header.Prefix, header.Revision)
		if last != "" {
			read.next = last + "\x00"
		}
	}
	n, err := exportTo(s, f, read, header, fresh)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fail(exitError, err)
	}
	fmt.Fprintf(s.Out, "exported %d keys at revision %d to %s\n", n, read.revision, path)
	return nil
}

// sameExport returns an error if the arguments name another export than the header of the file;
// they may be left out.
func sameExport(s *cli.Session, header exportHeader, prefix string) error {
	if len(s.Args) > 0 && prefix != header.Prefix {
		return fmt.Errorf("it has the keys with the prefix %q, not %q: leave the prefix out, or export to another file", header.Prefix, prefix)
	}
	if rev := s.Int64("rev"); rev != 0 && rev != header.Revision {
		return fmt.Errorf("it is of revision %d, not %d: leave --rev out, or export to another file", header.Revision, rev)
	}
	return nil
}

// resumePoint returns the header and the last key of an interrupted export, and cuts an incomplete
// last line off.
func resumePoint(f *os.File) (last string, header exportHeader, err error) {
	in := bufio.NewReader(f)
	offset := int64(0)
	for number := 1; ; number++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // without a line end the line is incomplete
		} else if err != nil {
			return "", header, err
		}
		found, key, _, err := parseExport(number, line)
		switch {
		case number == 1 && found.Format == 0:
			return "", header, errors.New("its first line is not that of an export")
		case err != nil:
			return "", header, err
		case number == 1:
			header = found
		default:
			last = key
		}
		offset += int64(len(line))
	}
	if offset == 0 {
		return "", header, errors.New("it has no complete line")
	}
	if err := f.Truncate(offset); err != nil {
		return "", header, err
	}
	_, err = f.Seek(offset, io.SeekStart)
	return last, header, err
}

// exportTo writes the keys, after the header if the output is empty, and returns their number.
func exportTo(s *cli.Session, w io.Writer, read *pages, header exportHeader, fresh bool) (n int64, err error) {
	out := bufio.NewWriter(w)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	progress := s.StartProgress(func(done int64, elapsed time.Duration) string {
		return fmt.Sprintf("%d keys exported, %.0f/s", done, float64(done)/max(elapsed.Seconds(), 1))
	})
	defer progress.Stop()
	for {
		kv, err := read.take(s)
		if err != nil {
			return n, errors.Join(err, out.Flush())
		}
		if fresh {
			fresh, header.Format, header.Revision = false, exportFormat, read.revision
			if err := encoder.Encode(header); err != nil {
				return n, fail(exitError, err)
			}
		}
		if kv == nil {
			break
		}
		if err := encoder.Encode(lineOf(kv)); err != nil {
			return n, fail(exitError, err)
		}
		n++
		progress.Add(1)
	}
	if err := out.Flush(); err != nil {
		return n, fail(exitError, err)
	}
	return n, nil
}
