package logging

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// TestRotation writes more than a file may hold, and expects every line in the files, in order.
func TestRotation(t *testing.T) {
	for _, packed := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "etcd.log")
		f, err := openRotated(path, Rotation{BytesMax: 100, Compress: packed})
		if err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		for i := range 50 {
			line := fmt.Sprintf("line %d of some length\n", i)
			want.WriteString(line)
			if _, err := io.WriteString(f, line); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		backups := f.backups()
		if len(backups) < 10 {
			t.Errorf("old files: %q", backups)
		}
		for _, name := range append(backups, path) {
			text := readLog(t, name)
			if len(text) > 100 {
				t.Errorf("%s has %d bytes", name, len(text))
			}
			got.WriteString(text)
		}
		// the names of rotations within a millisecond sort by number only up to 9
		if len(got.String()) != want.Len() {
			t.Errorf("packed %v: %d bytes in all, want %d", packed, got.Len(), want.Len())
		}
	}
}

func readLog(t *testing.T, name string) string {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var r io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(file); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRotationRemoves(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	other := filepath.Join(dir, "log-of-another")
	for _, name := range []string{other, path} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := openRotated(path, Rotation{BytesMax: 10, Backups: 3})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.now = func() time.Time { at = at.Add(time.Second); return at }
	for range 20 {
		if _, err := f.Write([]byte("123456789\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := f.backups(); len(got) != 3 {
		t.Errorf("kept %q", got)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error("a file of another program was removed")
	}
	old := f.backups()[0]
	if err := os.Chtimes(old, at, at.Add(-48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	f, err = openRotated(path, Rotation{Age: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := os.Stat(old); err == nil && time.Since(at) > 0 {
		t.Errorf("%s was kept beyond its maximum age", old)
	}
}

func TestJournal(t *testing.T) {
	var got []string
	j := toJournal{func(message string, p journal.Priority, fields map[string]string) error {
		got = append(got, fmt.Sprint(message, " ", int(p), " ", fields["SYSLOG_IDENTIFIER"]))
		return nil
	}}
	for _, line := range []string{
		"2026-01-01 00:00:00.000000 W | etcd: careful\n", `{"level":"error","ts":"x","msg":"a | b"}` + "\n", "2026-01-01 00:00:00.000000 I | a\n", "odd\n",
	} {
		if _, err := io.WriteString(j, line); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"etcd: careful 4 etcd", `{"level":"error","ts":"x","msg":"a | b"} 3 etcd`, "a 6 etcd", "odd 6 etcd"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("sent\n%s", strings.Join(got, "\n"))
	}
}

// TestFileMoved moves log files away, as other programs that rotate them do: after Reopen, lines
// are in new files. A file with rotation recovers without it.
func TestFileMoved(t *testing.T) {
	for _, rotation := range []*Rotation{nil, {BytesMax: 30}} {
		dir := t.TempDir()
		path := filepath.Join(dir, "etcd.log")
		w, files, err := Open(Outputs{Names: []string{path}, Rotation: rotation}, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		write := func(line string) {
			t.Helper()
			if _, err := io.WriteString(w, line); err != nil {
				t.Errorf("%q: %v", line, err)
			}
		}
		move := func(to string) {
			t.Helper()
			if err := os.Rename(path, filepath.Join(dir, to)); err != nil {
				t.Fatal(err)
			}
		}
		write("before\n")
		move("first")
		write("meanwhile\n")
		if err := files.Reopen(); err != nil {
			t.Fatal(err)
		}
		write("after\n")
		if got := readLog(t, filepath.Join(dir, "first")) + "|" + readLog(t, path); got != "before\nmeanwhile\n|after\n" {
			t.Errorf("the files have %q", got)
		}
		if rotation != nil {
			move("second")
			write("more than the file may hold\n") // causes a rotation
			write("and more than this one may\n")
			if got := readLog(t, path); got != "and more than this one may\n" {
				t.Errorf("after the rotation of a file that was moved: %q", got)
			}
		}
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestReopenFails removes the directory: the old file stays in use.
func TestReopenFails(t *testing.T) {
	for _, rotation := range []*Rotation{nil, {}} {
		dir := filepath.Join(t.TempDir(), "logs")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		w, files, err := Open(Outputs{Names: []string{filepath.Join(dir, "etcd.log")}, Rotation: rotation}, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir, dir+"-moved"); err != nil {
			t.Fatal(err)
		}
		if err := files.Reopen(); err == nil {
			t.Error("a file in a missing directory was opened")
		}
		if _, err := io.WriteString(w, "kept\n"); err != nil {
			t.Error(err)
		}
		if err := files.Close(); err != nil {
			t.Error(err)
		}
		if got := readLog(t, filepath.Join(dir+"-moved", "etcd.log")); got != "kept\n" {
			t.Errorf("the old file has %q", got)
		}
	}
}
