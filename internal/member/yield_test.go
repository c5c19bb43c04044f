package member

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A yielder rests while other goroutines wait for a processor, as long as it has worked, and at
// most for the longest piece of work.
func TestYielderRests(t *testing.T) {
	for _, c := range []struct {
		name                 string
		worked, waited, want time.Duration
	}{
		{"processors free", 100 * time.Microsecond, yieldBusy, 0},
		{"processors busy", 100 * time.Microsecond, yieldBusy + 1, 100 * time.Microsecond},
		{"a long piece of work", time.Second, time.Millisecond, yieldWorkMax},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				times := []time.Duration{ // began, resumed; began, others have run, resumed
					0, time.Second,
					time.Second + c.worked, time.Second + c.worked + c.waited, time.Second + c.worked + c.waited,
				}
				y := &yielder{now: func() time.Duration {
					now := times[0]
					times = times[1:]
					return now
				}}
				began := time.Now()
				y.yield()
				if rested := time.Since(began); rested != 0 {
					t.Errorf("rested for %v before any work", rested)
				}
				y.yield()
				if rested := time.Since(began); rested != c.want {
					t.Errorf("rested for %v, want %v", rested, c.want)
				}
			})
		})
	}
}

// Backups and the snapshots for other members give way to requests.
func TestStreamsOfTheStateYield(t *testing.T) {
	m := start(t, testConfig(newDisk(t)))
	defer closeMember(t, m)
	backup, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	sent, err := openSnapshot(m)
	if err != nil {
		t.Fatal(err)
	}
	if backup.Yield == nil || sent.Yield == nil {
		t.Errorf("a backup yields: %v, a snapshot for a member: %v; want both", backup.Yield != nil, sent.Yield != nil)
	}
	if err := errors.Join(backup.Close(), sent.Close()); err != nil {
		t.Fatal(err)
	}
}
