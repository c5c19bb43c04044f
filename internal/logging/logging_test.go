package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// at is a handler that gives every line the tutorial's time.
type at struct{ slog.Handler }

func (h at) Handle(ctx context.Context, r slog.Record) error {
	r.PC = 0 // lines of this file must not be in the golden files
	r.Time = time.Date(2017, 4, 10, 11, 46, 44, 772465000, time.UTC)
	return h.Handler.Handle(ctx, r)
}
func (h at) WithAttrs(attrs []slog.Attr) slog.Handler { return at{h.Handler.WithAttrs(attrs)} }
func (h at) WithGroup(name string) slog.Handler       { return at{h.Handler.WithGroup(name)} }

// speak logs one line of each kind.
func speak(log *slog.Logger) {
	log.Debug("not to be seen")
	For(log, "etcd").Info("data dir", "data_dir", "default.etcd")
	For(log, "etcd").Info("heartbeat", "heartbeat", 100*time.Millisecond, "unit", "ms")
	For(log, "etcd").Info("ready to serve client requests")
	log.Log(context.Background(), LevelNotice, "serving insecure client requests", "address", "127.0.0.1:2379")
	log.Warn("setting has no effect", "setting", "--max-wals", "reason", "cairn truncates its log itself", "empty", "")
	log.Error("append raft log", "err", errors.New("disk full\nor = \"worse\""))
	log.Info("forged\n2017-04-10 11:46:44 I | etcd: all is well", "bytes", "\xff\x1b[1m")
	log.With("member_id", "8e9e").WithGroup("g").With("a", 1).Info("grouped", "component", "inner", slog.Group("h", "b", 2), "c", time.Unix(0, 0))
	NewRaft(log).Infof("%x became leader at term %d\n", uint64(0x8e9e05c52164694d), 2)
	NewRaft(log).Warning("a ", 1, " b")
	NewRaft(log).Debugf("%v", 1)
}

func TestGolden(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var got bytes.Buffer
		speak(slog.New(at{New(&got, format == "json", slog.LevelInfo)}))
		golden := filepath.Join("testdata", format+".txt")
		if *rewrite {
			if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != string(want) {
			t.Errorf("%s differs from %s (go test -rewrite):\n%s", format, golden, got.String())
		}
	}
}

// TestTextHandlerKeepsSlogsRules runs the standard library's own checks on the text form, read back
// into maps.
func TestTextHandlerKeepsSlogsRules(t *testing.T) {
	var buf bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		buf.Reset()
		return newTextHandler(&buf, slog.LevelDebug)
	}, func(t *testing.T) map[string]any {
		line := strings.TrimSuffix(buf.String(), "\n")
		head, rest, ok := strings.Cut(line, " | ")
		if !ok && strings.HasPrefix(line, "I | ") {
			head, rest = "I", strings.TrimPrefix(line, "I | ")
		} else if !ok {
			t.Fatalf("line %q", line)
		}
		m := map[string]any{slog.LevelKey: head[len(head)-1:]}
		if len(head) > 1 {
			m[slog.TimeKey] = head[:len(head)-2]
		}
		words := strings.Fields(rest)
		m[slog.MessageKey], words = words[0], words[1:]
		for _, word := range words {
			key, value, _ := strings.Cut(word, "=")
			into := m
			for path := strings.Split(key, "."); ; path = path[1:] {
				if len(path) == 1 {
					into[path[0]] = value
					break
				}
				below, ok := into[path[0]].(map[string]any)
				if !ok {
					below = map[string]any{}
					into[path[0]] = below
				}
				into = below
			}
		}
		return m
	})
}

// TestJSONFields checks the fields that programs parse: etcd's names, in etcd's order.
func TestJSONFields(t *testing.T) {
	var buf bytes.Buffer
	log := slog.New(New(&buf, true, slog.LevelInfo)).With("member_id", "1")
	log.Info("hello", "took", time.Second)
	log.Warn(`a "quoted" line`)
	slog.New(New(&buf, true, slog.LevelInfo)).Error("alone")
	form := regexp.MustCompile(`^\{"level":"(info|warn|error)","ts":"\d{4}-\d\d-\d\dT[\d:.]{15}Z","caller":"logging/logging_test.go:\d+","msg":".*`)
	for line := range strings.Lines(buf.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil || !form.MatchString(line) {
			t.Errorf("%v: %s", err, line)
		}
	}
	if n := strings.Count(buf.String(), "\n"); n != 3 || !strings.Contains(buf.String(), `"member_id":"1","took":"1s"}`) {
		t.Errorf("%d lines:\n%s", n, &buf)
	}
}

func TestLevelCanBeChanged(t *testing.T) {
	var buf bytes.Buffer
	var level slog.LevelVar
	log := slog.New(New(&buf, false, &level))
	log.Debug("one")
	level.Set(slog.LevelDebug)
	log.Debug("two")
	level.Set(LevelOff)
	log.Error("three")
	if got := buf.String(); strings.Contains(got, "one") || !strings.Contains(got, "two") || strings.Contains(got, "three") {
		t.Errorf("logged %q", got)
	}
}

func TestRaftPanics(t *testing.T) {
	var buf bytes.Buffer
	log := NewRaft(slog.New(New(&buf, false, slog.LevelInfo)))
	for want, f := range map[string]func(){
		"raft: a1":  func() { log.Panic("a", 1) },
		"raft: b 2": func() { log.Panicf("b %d", 2) },
		"raft: c":   func() { log.Fatal("c") },
		"raft: d":   func() { log.Fatalf("d") },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panicked with %v, want %q", got, want)
				}
			}()
			f()
		}()
		if !strings.Contains(buf.String(), want) {
			t.Errorf("%q is not in the log %q", want, buf.String())
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	w, c, err := Open(Outputs{Names: []string{"stderr", path, "stdout"}}, &stdout, broken{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "line\n"); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v, want that of the broken output", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if stdout.String() != "line\n" || string(file) != "before\nline\n" {
		t.Errorf("stdout %q, file %q", stdout.String(), file)
	}
	if _, _, err := Open(Outputs{Names: []string{"stdout", filepath.Join(path, "below")}}, &stdout, &stdout); err == nil || !strings.Contains(err.Error(), "open log file: ") {
		t.Errorf("error %v for a file below a file", err)
	}
}
