package v3cmd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/internal/migration"
)

// TestMigrationBeforeTheFirstReport: the old cluster's revision is at least that of the new one,
// also while no program has reported it yet.
func TestMigrationBeforeTheFirstReport(t *testing.T) {
	var out bytes.Buffer
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.String("write-out", "simple", "")
	st := migrationStatus{Status: migration.Status{Phase: migration.Following, Revision: 44}}
	if err := printMigration(&cli.Session{Out: &out, Flags: flags}, st); err != nil {
		t.Fatal(err)
	}
	if want := "\nrevision: 44 of 44, 0 behind\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%s\nwant %q in it", out.String(), want)
	}
}
