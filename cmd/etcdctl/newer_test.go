package main

import (
	"os/exec"
	"testing"

	"cairn/test/harness"
)

// TestFlagsNewerThanDebians uses flags that etcd's etcdctl has since 3.5 and Debian's does not
// have. Every server supports them: they are options of the v3 API from its beginning.
func TestFlagsNewerThanDebians(t *testing.T) {
	harness.Needs(t, referenceServer, "etcd-server")
	ours, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Fatal(err)
	}
	s := startSide(t, referenceServer, ours)
	for _, c := range []struct {
		line, stdout string
		exit         int
	}{
		// revisions 2 to 5
		{"etcdctl put a 1; etcdctl put b 1; etcdctl put c 1; etcdctl put a 2", "OK\nOK\nOK\nOK\n", 0},
		{`etcdctl get "" --prefix --count-only`, "", 128},
		{`etcdctl get "" --prefix --stream --keys-only`, "", 1}, // Debian's server does not have RangeStream
		{`etcdctl get "" --prefix --count-only -w fields | grep Count`, "\"Count\" : 3\n", 0},
		{`etcdctl get "" --prefix --min-mod-rev 4 --print-value-only --sort-by MODIFY`, "1\n2\n", 0},
		{`etcdctl get "" --prefix --max-mod-rev 4 --keys-only`, "b\n\nc\n\n", 0},
		{`etcdctl get "" --prefix --min-create-rev 3 --max-create-rev 3`, "b\n1\n", 0},
		{`etcdctl get "" --prefix --limit 2 --order DESCEND --keys-only`, "c\n\nb\n\n", 0},
		{"etcdctl del a c --range", "2\n", 0},
		{"etcdctl del c --range", "", 128},
		// Debian's refuses an option together with its variable; ours uses the option
		{"etcdctl --endpoints $ENDPOINT get c", "c\n1\n", 0},
		{"ETCDCTL_ENDPOINTS=127.0.0.1:1 etcdctl --endpoints $ENDPOINT get c", "c\n1\n", 0},
		{`printf 'lease("c") = "0"\n\nget c\n\n\n' | etcdctl txn`, "SUCCESS\n\nc\n1\n", 0}, // Debian's panics
	} {
		if got := s.say(c.line); got.stdout != c.stdout || got.exit != c.exit {
			t.Errorf("%s:\n%swant exit %d and\n%s", c.line, got, c.exit, c.stdout)
		}
	}
}
