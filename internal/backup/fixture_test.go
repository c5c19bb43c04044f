package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"cairn/internal/machine"
)

// TestMain removes the archives that tests have unpacked. bcrypt's default cost would take minutes
// under the race detector.
func TestMain(m *testing.M) {
	hashCost = bcrypt.MinCost
	status := m.Run()
	if err := fixtures.remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// fixtures are the archives of testdata, each unpacked once for all tests.
var fixtures archives

// walBytes is the size that etcd reserves for a file of its log. The archives do not have the zeros
// at its end, which would take most of the time of the tests.
const walBytes = 64_000_000

type archives struct {
	mu   sync.Mutex // guards the fields below
	dir  string
	tops map[string]string // by archive, its first directory; "" is the file's own content
}

func (a *archives) remove() error {
	if a.dir == "" {
		return nil
	}
	return os.RemoveAll(a.dir)
}

// open returns the unpacked content of an archive, which must not be changed.
func (a *archives) open(t testing.TB, name string) string {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dir == "" {
		dir, err := os.MkdirTemp("", "cairn-backup-")
		must(t, err)
		a.dir, a.tops = dir, map[string]string{}
	}
	dir := filepath.Join(a.dir, name)
	if top, there := a.tops[name]; there {
		return filepath.Join(dir, top)
	}
	packed, err := os.Open(filepath.Join("testdata", "etcd", name))
	must(t, err)
	defer packed.Close()
	in, err := gzip.NewReader(packed)
	must(t, err)
	top := ""
	if filepath.Ext(filepath.Base(name[:len(name)-len(".gz")])) != ".tar" {
		must(t, writeSparse(dir, in))
	} else if top, err = untar(dir, in); err != nil {
		t.Fatal(err)
	}
	a.tops[name] = top
	return filepath.Join(dir, top)
}

// untar extracts an archive and returns its first directory.
func untar(dir string, in io.Reader) (top string, err error) {
	for files := tar.NewReader(in); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return top, nil
		}
		if err != nil {
			return "", err
		}
		if top == "" {
			top = filepath.Clean(h.Name)
		}
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			err = writeSparse(path, files)
		}
		if err != nil {
			return "", err
		}
	}
}

// writeSparse copies a stream into a file in which blocks of zeros are holes.
func writeSparse(path string, in io.Reader) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	block, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); ; {
		n, err := io.ReadFull(in, block)
		if n > 0 && !bytes.Equal(block[:n], zeros[:n]) {
			if _, err := f.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return f.Truncate(at)
		case err != nil:
			return err
		}
	}
}

// unpack returns a directory with the content of an archive of testdata, which the test may change.
func unpack(t testing.TB, name string) string {
	t.Helper()
	from, to := fixtures.open(t, name), filepath.Join(t.TempDir(), "unpacked")
	must(t, filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := writeSparse(filepath.Join(to, name), f); err != nil || filepath.Ext(name) != ".wal" {
			return err
		}
		return os.Truncate(filepath.Join(to, name), walBytes)
	}))
	return to
}

// passwords remembers which passwords belong to which hashes: the same users are in many fixtures,
// and bcrypt takes a second under the race detector.
var passwords sync.Map // of passwordOf → error

type passwordOf struct{ hash, password string }

// checkPasswords: the users of a state log in with their passwords.
func checkPasswords(t *testing.T, m *machine.Machine, want map[string]string) {
	t.Helper()
	if len(want) == 0 {
		t.Error("no passwords are expected")
	}
	for user, password := range want {
		u := m.Auth().State().User(user)
		if u == nil {
			t.Errorf("user %s is missing", user)
			continue
		}
		key := passwordOf{u.Hash, password}
		result, known := passwords.Load(key)
		if !known {
			result = bcrypt.CompareHashAndPassword([]byte(u.Hash), []byte(password)) == nil
			passwords.Store(key, result)
		}
		if result != true {
			t.Errorf("user %s: its password is not accepted", user)
		}
	}
}
