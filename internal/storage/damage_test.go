package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// damagedStore is a state store with sstables, and with blob files for table r, that no process has
// open.
func damagedStore(t *testing.T) (dir string, content map[string]string) {
	t.Helper()
	dir, content = t.TempDir(), map[string]string{}
	s, err := OpenState(dir, Options{Still: true})
	if err != nil {
		t.Fatal(err)
	}
	for part := range 2 {
		b := s.NewBatch()
		for i := range 300 {
			for _, table := range []Table{TableCurrent, TableRevisions} {
				key := fmt.Sprintf("%c%d%04d", table, part, i)
				content[key] = strings.Repeat(key, 40)
				b.Set([]byte(key), []byte(content[key]))
			}
		}
		if err := errors.Join(b.Commit(false), b.Close(), s.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, content
}

// TestDamageUnderARunningStore damages each file of tables after the store was opened: what is read
// is right, or an error; and after an error the store fails with one line that has the file and the
// way out. Pebble 2.1.7 panics at a blob file that is missing or has a damaged footer.
func TestDamageUnderARunningStore(t *testing.T) {
	dir, content := damagedStore(t)
	var files []string
	for _, pattern := range []string{"*.sst", "*.blob"} {
		some, _ := filepath.Glob(filepath.Join(dir, pattern))
		if len(some) == 0 {
			t.Fatalf("the store has no %s", pattern)
		}
		files = append(files, some...)
	}
	for _, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		try := func(what string, damage func() error) {
			failed := readDamaged(t, dir, content, filepath.Base(file)+", "+what, damage)
			if failed {
				refused++
			} else if strings.HasSuffix(file, ".blob") && !strings.HasPrefix(what, "changed") {
				t.Errorf("%s, %s: nothing was found", file, what)
			}
			if err := os.WriteFile(file, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 8 {
			at := i * (len(whole) - 1) / 7
			changed := bytes.Clone(whole)
			changed[at] ^= 0x10
			try(fmt.Sprint("changed at ", at), func() error { return os.WriteFile(file, changed, 0o600) })
			try(fmt.Sprint("cut at ", at), func() error { return os.Truncate(file, int64(at)) })
		}
		try("removed", func() error { return os.Remove(file) })
		if refused == 0 {
			t.Errorf("%s: no damage was found", file)
		}
	}
}

// readDamaged opens the store, damages it, and reads everything in several ways. It reports whether
// the store failed.
func readDamaged(t *testing.T, dir string, content map[string]string, what string, damage func() error) bool {
	t.Helper()
	var mu sync.Mutex
	var fatal []error
	s, err := OpenState(dir, Options{Still: true, MustExist: true, OnFatal: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		fatal = append(fatal, err)
	}})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := damage(); err != nil {
		t.Fatal(err)
	}
	var bad error // of the reads
	compare := func(key, value string, err error) {
		switch {
		case errors.Is(err, io.EOF):
			t.Errorf("%s: the error of %q could be taken for an end: %v", what, key, err)
		case err != nil:
			bad = err
		case value != content[key]:
			t.Errorf("%s: %q has %d bytes that were never written", what, key, len(value))
		}
	}
	for key := range content {
		lent, closer, err := s.Lend([]byte(key))
		compare(key, string(lent), err)
		if err == nil {
			_ = closer.Close()
		}
		if bad != nil {
			break // each further error takes pebble a hundred milliseconds
		}
	}
	for key := range content {
		value, err := s.Get([]byte(key), nil)
		compare(key, string(value), err)
		if err != nil {
			break
		}
	}
	it, n := s.NewIter(nil, nil), 0
	for ok := it.First(); ok; ok = it.Next() {
		key, value := string(it.Key()), string(it.Value())
		if it.Err() != nil {
			break
		}
		compare(key, value, nil)
		n++
	}
	if err := it.Close(); err != nil {
		compare("a walk", "", err)
	} else if n != len(content) {
		t.Errorf("%s: a walk ended without an error after %d keys of %d", what, n, len(content))
	}
	_ = s.Close() // returns the failure
	mu.Lock()
	defer mu.Unlock()
	if (bad != nil) != (len(fatal) > 0) {
		t.Errorf("%s: the error of a read is %v, the store failed with %v", what, bad, fatal)
	}
	if len(fatal) > 1 {
		t.Errorf("%s: the store failed %d times: %v", what, len(fatal), fatal)
	}
	file, _, _ := strings.Cut(what, ",")
	for _, err := range fatal {
		text := err.Error()
		if !strings.Contains(text, filepath.Join(dir, file)) || !strings.HasSuffix(text, Advice) || strings.Contains(text, "\n") {
			t.Errorf("%s: the failure does not have the file and the way out in one line: %s", what, text)
		}
	}
	return len(fatal) > 0
}
