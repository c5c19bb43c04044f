package member

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
)

// TestOneCommitOfTheLogPerPut: the commit index that follows a lone put is written with the next
// put, and is not a commit of the log store of its own.
func TestOneCommitOfTheLogPerPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, testConfig(newDisk(t)))
		defer closeMember(t, m)
		mustPut(t, m, "first", "x")
		synctest.Wait()
		const puts = 20
		before := logCommits(t, m)
		for i := range puts {
			mustPut(t, m, name("k", i), "x")
			synctest.Wait()
		}
		if n := logCommits(t, m) - before; n != puts {
			t.Errorf("%d puts made %d commits of the log", puts, n)
		}
	})
}

// logCommits returns the number of the log store's last commit (docs/formats/raft-log.md).
func logCommits(t *testing.T, m *Member) uint64 {
	t.Helper()
	b, err := m.logStore.Get([]byte{'j'}, nil)
	if err != nil {
		t.Fatal(err)
	}
	number, n := binary.Uvarint(b)
	if n != len(b) {
		t.Fatalf("the number of the last commit is %x, want a uvarint", b)
	}
	return number
}
