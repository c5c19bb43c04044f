package etcdfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// V2Node is a node of etcd's v2 store, in the JSON of its snapshots. Users' keys are below /1, the
// cluster's below /0, users and roles below /2.
type V2Node struct {
	Path          string
	CreatedIndex  int64
	ModifiedIndex int64
	ExpireTime    time.Time // before the year 2000: none
	Value         string
	Children      map[string]*V2Node // nil for a key; no node in it is nil
}

// V2Store is the v2 store as of a snapshot.
type V2Store struct {
	Entry        uint64 `json:"-"` // the last entry that it contains
	CurrentIndex int64
	Root         *V2Node
}

// V2Dir is the v2 data of a data directory, or of a backup by `etcdctl backup`.
type V2Dir struct {
	Store V2Store // the newest snapshot; without nodes when there is none
	WAL   *WAL
}

// OpenV2Dir opens a data directory of etcd for its v2 keys. walDir is the directory of the log;
// empty means its default.
func OpenV2Dir(dir, walDir string) (d *V2Dir, err error) {
	if walDir == "" {
		walDir = filepath.Join(dir, "member", "wal")
	}
	snapshots, err := filepath.Glob(filepath.Join(dir, "member", "snap", "*.snap"))
	if err != nil {
		return nil, err
	}
	d = new(V2Dir)
	slices.Sort(snapshots) // TERM-INDEX
	for i := len(snapshots) - 1; i >= 0; i-- {
		var broken error
		if broken = d.Store.read(snapshots[i]); broken == nil {
			break
		}
		// As etcd does: an older snapshot with the log behind it is equivalent.
		if err = errors.Join(err, broken); i == 0 {
			return nil, err
		}
		d.Store = V2Store{}
	}
	d.WAL, err = OpenWAL(walDir, d.Store.Entry)
	return d, err
}

// Close closes the files.
func (d *V2Dir) Close() error { return d.WAL.Close() }

// read reads a snapshot file of etcd 2.0 and later.
func (s *V2Store) read(path string) error {
	file, err := os.ReadFile(path)
	if err == nil {
		err = s.parse(file)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// V2Request is a request of v2 in etcd's log.
type V2Request struct {
	Method, Path, Value string
	PrevValue           string
	PrevIndex           uint64
	PrevExist           *bool // nil means no condition
	Dir, Recursive      bool
	Refresh             bool
	Expiration          int64 // in ns since 1970; 0 means none
	Time                int64 // of SYNC, in ns since 1970
}

// ParseV2Request returns the request of v2 in an entry's data, which etcd writes with and without a
// surrounding message; ok is false when there is none.
func ParseV2Request(data []byte) (r V2Request, ok bool, err error) {
	if !isV2Request(data) {
		return r, false, nil
	}
	if err := r.parse(data); err == nil && slices.Contains(v2Methods, r.Method) {
		return r, true, nil
	}
	var inner []byte
	err = eachField(data, func(number protowire.Number, _ uint64, bytes []byte) {
		if number == v2Field {
			inner = bytes
		}
	})
	r = V2Request{}
	if err = errors.Join(err, r.parse(inner)); err == nil && !slices.Contains(v2Methods, r.Method) {
		err = fmt.Errorf("%w: v2 request with method %q", ErrCorrupt, r.Method)
	}
	return r, err == nil, err
}

var v2Methods = []string{"GET", "QGET", "HEAD", "PUT", "POST", "DELETE", "SYNC"}

func (r *V2Request) parse(data []byte) error {
	return eachField(data, func(number protowire.Number, value uint64, bytes []byte) {
		switch number {
		case 2:
			r.Method = string(bytes)
		case 3:
			r.Path = string(bytes)
		case 4:
			r.Value = string(bytes)
		case 5:
			r.Dir = value != 0
		case 6:
			r.PrevValue = string(bytes)
		case 7:
			r.PrevIndex = value
		case 8:
			exists := value != 0
			r.PrevExist = &exists
		case 9:
			r.Expiration = int64(value)
		case 12:
			r.Recursive = value != 0
		case 15:
			r.Time = int64(value)
		case 17:
			r.Refresh = value != 0
		}
	})
}
