package main

import (
	"strings"
	"testing"
	"time"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// lines writes to a test's log.
type lines struct{ t *testing.T }

func (l lines) Write(text []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(text), "\n"))
	return len(text), nil
}

// TestShortTorture is a run of some 20 seconds with the short faults. make torture makes long runs.
func TestShortTorture(t *testing.T) {
	t.Parallel()
	cfg := &config{
		etcd: harness.Etcd(t), dir: t.TempDir(), minutes: 0.25, bout: time.Minute, clients: 2, pause: 30 * time.Millisecond, heal: 2 * time.Minute, sizes: "3", out: lines{t},
		only: "kill,kill leader,kill all,pause leader,partition,cut off leader,cut connections,torn log tail,replace member,move leader",
	}
	if err := torture(t.Context(), cfg); err != nil {
		t.Error(err)
	}
}

// TestShortAttack is a run of some 15 seconds in which the cluster is attacked on both ports, while
// its connections break. An hour of it is a part of make hostile.
func TestShortAttack(t *testing.T) {
	t.Parallel()
	cfg := &config{
		etcd: harness.Etcd(t), dir: t.TempDir(), minutes: 0.1, bout: time.Minute, clients: 1, pause: 40 * time.Millisecond, heal: 2 * time.Minute, sizes: "3", out: lines{t},
		only: "cut connections,move leader", attack: "peer,requests", attackPause: 20 * time.Millisecond, noTmpfs: true,
	}
	if err := torture(t.Context(), cfg); err != nil {
		t.Error(err)
	}
}
