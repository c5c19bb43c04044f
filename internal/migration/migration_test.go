package migration

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"cairn/internal/auth"
	"cairn/internal/kv"
)

// TestBytes compares the bytes with docs/formats/migration.md.
func TestBytes(t *testing.T) {
	put := func(main, create, version int64, value string, id kv.LeaseID) kv.Record {
		return kv.Record{Mod: kv.Revision{Main: main}, CreateRevision: create, Version: version, Value: []byte(value), Lease: id}
	}
	for _, c := range []struct {
		command Command
		want    string
	}{
		{Command{Kind: KindBegin, Source: 0x8e9e05c52164694d, Base: 10, Endpoints: "a"}, "018e9e05c52164694d0a0161"},
		{Command{Kind: KindLoad, Complete: true, Changes: []Change{{Key: []byte("k"), Record: put(5, 5, 1, "v", 0)}}}, "02010500" + "00016b05010176"},
		{Command{Kind: KindReplay, Seen: 12, Changes: []Change{
			{Key: []byte("k"), Record: put(11, 5, 2, "w", 0x1234)},
			{Key: []byte("k"), Record: kv.Record{Mod: kv.Revision{Main: 12}, Deleted: true}},
		}}, "03000c" + "0b0002016b050200000000000012340177" + "0c0001016b"},
		{Command{Kind: KindLeases, Leases: []Lease{{ID: 0x1234, TTL: 60, Left: 60}}}, "050100000000000012343c3c"},
		{Command{Kind: KindFinish, Revision: 12}, "060c"},
	} {
		b := c.command.Append(nil)
		if got := hex.EncodeToString(b); got != c.want {
			t.Errorf("command of kind %d: %s, want %s", c.command.Kind, got, c.want)
		}
		if got, err := Decode(b); err != nil || !reflect.DeepEqual(got, c.command) {
			t.Errorf("command of kind %d came back as %+v, %v", c.command.Kind, got, err)
		}
		for n := range b {
			// A list of changes may end earlier.
			if got, err := Decode(b[:n]); err == nil && len(got.Changes) == len(c.command.Changes) && len(c.command.Changes) > 0 {
				t.Errorf("%d bytes of a command of kind %d are taken for all of it", n, c.command.Kind)
			} else if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d bytes of a command of kind %d: %v", n, c.command.Kind, err)
			}
		}
	}
	s := State{Phase: Following, Source: 0x8e9e05c52164694d, Endpoints: "a", Base: 10, Loaded: kv.Revision{Main: 9}, Seen: 12, Heard: 1000}
	if got := hex.EncodeToString(append(recordKey(), s.append(nil)...)); got != "736d028e9e05c52164694d01610a09000ce807" {
		t.Errorf("record %s", got)
	}
	if got, err := decodeState(s.append(nil)); err != nil || *got != s {
		t.Errorf("record came back as %+v, %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range []Command{
		{Kind: KindBegin, Source: 1, Base: 10, Endpoints: "a"},
		{Kind: KindLoad, Changes: []Change{{Key: []byte("k"), Record: kv.Record{Mod: kv.Revision{Main: 5}, CreateRevision: 5, Version: 1}}}},
		{Kind: KindReplay, UpTo: 9, Seen: 12, Changes: []Change{{Key: []byte("k"), Record: kv.Record{Mod: kv.Revision{Main: 5}, Deleted: true}}}},
		{Kind: KindAuth, Auth: auth.Restoration{
			Enabled: true, Revision: 7, Users: []auth.User{{Name: "u", Hash: "h", Roles: []string{"r"}}},
			Roles: []auth.RestoredRole{{Name: "r", Permissions: []auth.Permission{{Access: auth.Read, KeyRange: kv.KeyRange{Key: []byte("a")}}}}},
		}},
		{Kind: KindLeases, Leases: []Lease{{ID: 1, TTL: 60, Left: 1}}},
		{Kind: KindFinish, Revision: 12},
	} {
		f.Add(c.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := Decode(c.Append(nil))
		if err != nil || !bytes.Equal(again.Append(nil), c.Append(nil)) {
			t.Fatalf("%x became %+v, %v", b, again, err)
		}
	})
}

func TestStatus(t *testing.T) {
	for p := None; p <= Finished; p++ {
		s := Status{Phase: p, Revision: 5}
		b, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeStatus(b); err != nil || got != s {
			t.Errorf("status %s came back as %+v, %v", b, got, err)
		}
	}
	if _, err := DecodeStatus([]byte(`{"phase":"dancing"}`)); err == nil {
		t.Error("an unknown phase is taken")
	}
}
