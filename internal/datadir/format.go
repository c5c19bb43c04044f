package datadir

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Format is the version of the layout that this version writes, and the highest that it reads.
const Format = 1

const magic = "cairn data directory"

// Identity is the content of FORMAT: the identity of the member.
type Identity struct {
	MemberID  uint64
	ClusterID uint64
	Name      string    // of the member when it was created
	Created   time.Time // to the second, in UTC
}

// encode returns FORMAT as drawn in docs/formats/data-directory.md.
func (id Identity) encode() []byte {
	return fmt.Appendf(nil, "%s\nformat: %d\nmember-id: %016x\ncluster-id: %016x\nname: %s\ncreated: %s\n",
		magic, Format, id.MemberID, id.ClusterID, strconv.Quote(id.Name), id.Created.UTC().Format(time.RFC3339))
}

// newerFormatError is the error of a layout that a later version wrote.
type newerFormatError struct{ format uint64 }

func (e newerFormatError) Error() string {
	return fmt.Sprintf("format %d is newer than %d, the newest that this version of cairn reads: use the version that wrote it, or a later one", e.format, Format)
}

// decode parses FORMAT. It returns a newerFormatError for one of a later version, regardless of the
// rest.
func decode(text []byte) (id Identity, err error) {
	lines := strings.Split(string(text), "\n")
	if lines[0] != magic || len(lines) < 2 {
		return id, fmt.Errorf("line 1 is not %q", magic)
	}
	format, err := decimal(lines[1])
	if err != nil {
		return id, fmt.Errorf("line 2: %w", err)
	}
	switch {
	case format > Format:
		return id, newerFormatError{format}
	case format != Format:
		return id, fmt.Errorf("line 2: there is no format %d", format)
	case len(lines) != 7 || lines[6] != "":
		return id, errors.New("does not have its 6 lines")
	}
	for i, read := range []func(string) error{
		func(v string) (err error) { id.MemberID, err = readID(v); return err },
		func(v string) (err error) { id.ClusterID, err = readID(v); return err },
		func(v string) (err error) { id.Name, err = strconv.Unquote(v); return err },
		func(v string) (err error) { id.Created, err = time.Parse(time.RFC3339, v); return err },
	} {
		key := []string{"member-id", "cluster-id", "name", "created"}[i]
		value, ok := strings.CutPrefix(lines[i+2], key+": ")
		if !ok {
			return id, fmt.Errorf("line %d has no %s", i+3, key)
		}
		if err := read(value); err != nil {
			return id, fmt.Errorf("line %d: %s %q cannot be read", i+3, key, value)
		}
	}
	// another time zone, raw quotes, capital digits: encode does not write these
	if string(id.encode()) != string(text) {
		return id, errors.New("is not as it was written")
	}
	return id, nil
}

func decimal(line string) (uint64, error) {
	value, ok := strings.CutPrefix(line, "format: ")
	if !ok {
		return 0, errors.New("has no format")
	}
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("format %q cannot be read", value)
	}
	return n, nil
}

func readID(v string) (uint64, error) {
	id, err := strconv.ParseUint(v, 16, 64)
	if err == nil && id == 0 {
		err = errors.New("is zero")
	}
	return id, err
}
