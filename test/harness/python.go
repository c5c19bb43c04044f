package harness

import (
	"path/filepath"
	"testing"
)

// RunPython starts a server and runs a script of the test's testdata against it. The script gets
// the server's address, and must exit with 0 and print "all good". It runs under Debian's own
// Python; library is a file of the imported Debian package (see Needs).
func RunPython(t *testing.T, script, library, debianPackage string) {
	t.Helper()
	Needs(t, library, debianPackage)
	s := Start(t)
	path, err := filepath.Abs("testdata/" + script)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Run(t, Command{
		Args: []string{"/usr/bin/python3", "-W", "ignore", path, s.Address()},
		Env:  []string{"PYTHONDONTWRITEBYTECODE=1"},
	})
	if got.Exit != 0 {
		t.Fatalf("exit %d\n%s%s", got.Exit, got.Stdout, got.Stderr)
	}
	if want := "all good\n"; got.Stdout != want {
		t.Errorf("said %q, want %q", got.Stdout, want)
	}
}
