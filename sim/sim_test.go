package sim

import (
	"encoding/json"
	"flag"
	"strings"
	"testing"
	"time"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "run this seed alone")
	seedsFlag   = flag.Int("seeds", 40, "run so many seeds")
	minutesFlag = flag.Float64("minutes", 0, "run seeds for so long")
	caseFlag    = flag.String("case", "", "run this case, as a report gives it")
	bugFlag     = flag.String("bug", "", "plant this bug")
	showFlag    = flag.String("show", "", "print the requests with this text")
)

// TestSeeds runs clusters from seeds: a number of them, or for a time.
func TestSeeds(t *testing.T) {
	from, n := uint64(1), *seedsFlag
	if *seedFlag != 0 {
		from, n = *seedFlag, 1
	}
	var total Stats
	began, failed := time.Now(), 0
	for seed := from; *minutesFlag > 0 || seed < from+uint64(n); seed++ {
		if *minutesFlag > 0 && time.Since(began).Minutes() >= *minutesFlag {
			n = int(seed - from)
			break
		}
		c := Case{Seed: seed, Bug: *bugFlag}
		out := Run(c)
		total.add(&out.Stats)
		if out.Err == nil {
			continue
		}
		t.Errorf("%s", out.Report())
		if *keepFlag {
			keep(t, c)
		}
		if failed++; failed == failuresMax {
			break
		}
	}
	t.Logf("%d seeds: %+v", n, total)
	if n > 20 && (total.Crashes == 0 || total.Elections == 0 || total.Unknown == 0 || total.Snapshots == 0) {
		t.Errorf("%d seeds have seen too little: %+v", n, total)
	}
}

// failuresMax is the number of failures after which the test stops.
const failuresMax = 10

// TestCase replays a case.
func TestCase(t *testing.T) {
	if *caseFlag == "" {
		t.Skip("no -case")
	}
	var c Case
	if err := json.Unmarshal([]byte(*caseFlag), &c); err != nil {
		t.Fatal(err)
	}
	if out := Run(c); out.Err != nil {
		t.Error(out.Report())
	}
}

// TestSameSeed runs seeds twice: everything must be the same, bit for bit.
func TestSameSeed(t *testing.T) {
	for seed := uint64(1001); seed <= 1006; seed++ {
		a, b := Run(Case{Seed: seed}), Run(Case{Seed: seed})
		if a.Digest != b.Digest {
			t.Errorf("seed %d: %s and %s", seed, a.Digest, b.Digest)
		}
		if other := Run(Case{Seed: seed + 100}); other.Digest == a.Digest {
			t.Errorf("seeds %d and %d are the same", seed, seed+100)
		}
	}
}

// TestShow prints the requests of a seed whose text contains -show.
func TestShow(t *testing.T) {
	if *showFlag == "" {
		t.Skip("no -show")
	}
	out := Run(Case{Seed: *seedFlag, Bug: *bugFlag})
	for i := range out.History.Operations {
		if s := out.History.Operations[i].String(); strings.Contains(s, *showFlag) {
			t.Log(s)
		}
	}
}
