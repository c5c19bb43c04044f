package sim

import "testing"

// TestBugs plants bugs, one at a time: some seed must detect each.
func TestBugs(t *testing.T) {
	for _, name := range Bugs() {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 80; seed++ {
				if out := Run(bugCase(name, seed)); out.Err != nil {
					t.Logf("seed %d: %.300v", seed, out.Err)
					return
				}
			}
			t.Error("no seed has found it")
		})
	}
}

// bugCase is a run that may detect a bug: with the workloads in which it shows.
func bugCase(name string, seed uint64) Case {
	c := Case{Seed: seed, Bug: name}
	switch bugs[name] {
	case bugStaleRevoke, bugUnconfirmedRenewal, bugLateExtension, bugStaleEnd:
		c.Members, c.Only = 3, []string{"lease"}
	case bugNoAuthAtApply:
		c.Members, c.Only = 3, []string{"auth"}
	case bugGuestWrites, bugShowAll:
		c.Members, c.Only = 3, []string{"v2users"}
	case bugEmptyChunk:
		c.Members, c.Only = 3, []string{"stream"}
	case bugOldMembers:
		c.Members, c.Only = 3, []string{"members"}
	}
	return c
}
