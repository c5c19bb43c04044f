package alarm

import (
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"cairn/internal/storage"
)

// TestBytes pins the bytes in docs/formats/alarms.md, and refuses any others.
func TestBytes(t *testing.T) {
	c := Command{Action: Activate, Kind: NoSpace, Member: 0x8e9e05c52164694d}
	b := c.Append(nil)
	if got := hex.EncodeToString(b); got != "01018e9e05c52164694d" {
		t.Errorf("command %s", got)
	}
	if got, err := Decode(b); err != nil || got != c {
		t.Errorf("came back as %+v, %v", got, err)
	}
	if got := hex.EncodeToString(Alarm{Kind: NoSpace, Member: c.Member}.key()); got != "7361018e9e05c52164694d" {
		t.Errorf("key %s", got)
	}
	for _, bad := range [][]byte{nil, b[:9], append(slices.Clone(b), 0), {5, 1, 0, 0, 0, 0, 0, 0, 0, 1}, {1, 0, 0, 0, 0, 0, 0, 0, 0, 1}, {1, 3, 0, 0, 0, 0, 0, 0, 0, 1}} {
		if _, err := Decode(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

// TestAlarms follows alarms through commands and a reopening.
func TestAlarms(t *testing.T) {
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // in memory
	table, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(action Action, kind Kind, member uint64) bool {
		t.Helper()
		b := db.NewBatch()
		defer b.Close() //nolint:errcheck // in memory
		table.Begin()
		a, ok := table.Apply(b, &Command{Action: action, Kind: kind, Member: member})
		if ok && (a.Kind != kind || a.Member != member) {
			t.Errorf("%d of %v, %d concerned %+v", action, kind, member, a)
		}
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		table.Publish()
		return ok
	}
	check := func(step string, add, change error, alarms ...Alarm) {
		t.Helper()
		again, err := Open(db)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*State{table.Present(), again.Present()} {
			if got := s.List(None); !slices.Equal(got, alarms) {
				t.Errorf("%s: alarms %+v, want %+v", step, got, alarms)
			}
			if a, c := s.MayAdd(), s.MayChange(); !errors.Is(a, add) || !errors.Is(c, change) {
				t.Errorf("%s: refuses to add %v, to change %v, want %v and %v", step, a, c, add, change)
			}
		}
	}
	check("empty", nil, nil)
	if apply(Deactivate, NoSpace, 1) || apply(Lift, NoSpace, 1) {
		t.Error("lifted what was not there")
	}
	apply(Raise, NoSpace, 2)
	apply(Activate, NoSpace, 1)
	check("two", ErrNoSpace, nil, Alarm{NoSpace, 1, false}, Alarm{NoSpace, 2, true})
	if apply(Lift, NoSpace, 1) {
		t.Error("a member lifted an operator's alarm")
	}
	if !apply(Lift, NoSpace, 2) || !apply(Activate, NoSpace, 1) || !apply(Raise, NoSpace, 1) {
		t.Error("the result does not name the alarms")
	}
	check("one", ErrNoSpace, nil, Alarm{NoSpace, 1, false})
	apply(Activate, Corrupt, 0)
	check("both", ErrCorrupt, ErrCorrupt, Alarm{NoSpace, 1, false}, Alarm{Corrupt, 0, false})
	if got := table.Present().List(Corrupt); len(got) != 1 || got[0].Kind != Corrupt {
		t.Errorf("of kind CORRUPT: %+v", got)
	}
	if got := table.Present().List(NoSpace); len(got) != 1 || got[0].Kind != NoSpace {
		t.Errorf("of kind NOSPACE: %+v", got)
	}
	apply(Raise, NoSpace, 3)
	apply(Deactivate, NoSpace, 3)
	apply(Deactivate, Corrupt, 0)
	apply(Deactivate, NoSpace, 1)
	check("none", nil, nil)
}
