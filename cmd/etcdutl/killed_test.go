package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cairn/internal/backup"
	"cairn/internal/datadir"
	"cairn/internal/snapshot"
	"cairn/test/harness"
)

// killPlaces are files below the new data directory: the process is killed as soon as one exists.
// The empty place stands for a random time.
var killPlaces = []string{"", "member/LOCK", "member/INCOMPLETE", "member/new/state", "member/new/log", "member/FORMAT"}

// TestKilledWhileMaking kills the commands that make a data directory, at several places. etcd
// refuses to start with the result, or the result is complete: it is never taken for the directory
// of a new member.
func TestKilledWhileMaking(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	largeSnapshot(t, path("etcd.db"), 2<<20)
	etcdutl(t, "import", path("etcd.db"), "--data-dir", path("member"))
	saveStopped(t, path("member"), path("cairn.db"))
	refused := ""
	for i, args := range [][]string{
		{harness.Etcdutl(t), "import", path("etcd.db"), "--data-dir"},
		{harness.Etcdutl(t), "snapshot", "restore", path("cairn.db"), "--data-dir"},
		{harness.Etcdctl(t), "snapshot", "restore", path("cairn.db"), "--data-dir"},
		{harness.Etcdctl(t), "backup", "--data-dir", path("member"), "--backup-dir"},
	} {
		for j, place := range killPlaces {
			if (i+j)%3 != 0 {
				continue // two places for each command: a process costs time
			}
			made := path(fmt.Sprintf("made-%d-%d", i, j))
			killAt(t, append(args, made), made, place)
			if checkNeverEmpty(t, args, made, place) {
				refused = made
			}
		}
	}
	if refused == "" {
		t.Fatal("no command was killed before it was complete")
	}
	var stderr bytes.Buffer
	cmd := exec.Command(harness.Etcd(t), "--data-dir", refused, "--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1",
		"--listen-peer-urls", "http://127.0.0.1:0")
	cmd.Stderr, cmd.Stdout = &stderr, &stderr
	if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), "did not finish: remove "+refused+" and ") {
		t.Errorf("etcd with the directory of a killed command: %v\n%s", err, stderr.String())
	}
}

// saveStopped saves a snapshot of a member that does not run.
func saveStopped(t *testing.T, dataDir, file string) {
	t.Helper()
	c, err := backup.OpenContent(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	source, err := c.Machine().Snapshot(1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = backup.Save(file, snapshot.NewFile(source))
	if err = errors.Join(err, source.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// killAt runs a command, and kills it when the place exists below the directory that it makes. A
// command that is faster than that completes.
func killAt(t *testing.T, args []string, made, place string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	api := "ETCDCTL_API=3"
	if args[1] == "backup" {
		api = "ETCDCTL_API=2"
	}
	cmd.Env = append(os.Environ(), api)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	at := time.After(time.Duration(rand.IntN(400)) * time.Millisecond)
	if place != "" {
		at = nil
	}
	poll := time.NewTicker(100 * time.Microsecond)
	defer poll.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%q: %v\n%s", args[1:], err, out.String())
			}
			return
		case <-poll.C:
			if _, err := os.Lstat(filepath.Join(made, place)); err != nil || place == "" {
				continue
			}
		case <-at:
		}
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		<-ended
		return
	}
}

// checkNeverEmpty inspects a directory that a killed command has left, and reports whether it is
// refused.
func checkNeverEmpty(t *testing.T, args []string, made, place string) (refused bool) {
	t.Helper()
	id, err := datadir.Inspect(made)
	switch {
	case errors.As(err, new(*datadir.IncompleteError)):
		return true
	case err != nil:
		t.Errorf("%q, killed at %q: %v", args[1:], place, err)
	case id != nil:
		etcdutl(t, "check", made)
	default:
		// killed before its first change of the directory
		left, err := filepath.Glob(filepath.Join(made, "member", "*"))
		if err != nil || len(left) > 1 || len(left) == 1 && filepath.Base(left[0]) != "LOCK" {
			t.Errorf("%q, killed at %q: %q is taken for a new member's directory, %v", args[1:], place, left, err)
		}
	}
	return false
}
