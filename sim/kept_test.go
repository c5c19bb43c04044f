package sim

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var keepFlag = flag.Bool("keep", false, "minimise what fails, and keep it in testdata")

// keep minimises a failing case and writes it to testdata, where TestKept runs it from then on.
func keep(t *testing.T, c Case) {
	small, out := Minimise(c, 60)
	t.Logf("minimised: %s", out.Report())
	b, err := json.Marshal(small)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", out.Digest+".json")
	if err := os.WriteFile(name, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("kept as sim/%s", name)
}

// TestKept runs the cases that have failed once.
func TestKept(t *testing.T) {
	names, err := filepath.Glob("testdata/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var c Case
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if out := Run(c); out.Err != nil {
			t.Errorf("%s: %s", name, out.Report())
		}
	}
}

// TestMinimise makes failing cases smaller; the result must still fail.
func TestMinimise(t *testing.T) {
	c := Case{Seed: 4, Bug: "acknowledged before the fsync"}
	for Run(c).Err == nil {
		c.Seed++
	}
	before := Run(c)
	small, out := Minimise(c, 40)
	if out.Err == nil || Run(small).Err == nil {
		t.Fatalf("%+v does not fail any more", small)
	}
	if faults := len(before.Faults) - len(small.Without); faults > 2 || out.Stats.Requests >= before.Stats.Requests && len(small.Without) == 0 {
		t.Errorf("%+v has %d of %d faults and %d of %d requests", small, faults, len(before.Faults), out.Stats.Requests, before.Stats.Requests)
	}
}
