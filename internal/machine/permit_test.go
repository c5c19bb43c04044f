package machine_test

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// TestAuthorization shows that a command is authorized against the state that it is applied to, not
// the one at the time of its proposal, and that the cluster's own commands need no authorization.
func TestAuthorization(t *testing.T) {
	fs, _ := foundTest(t)
	db, m := openTest(t, fs)

	change := func(c auth.Command) (machine.Kind, []byte) { return machine.KindAuth, c.Append(nil) }
	put := func(key string) (machine.Kind, []byte) {
		return machine.KindPut, machine.AppendPut(nil, &mvcc.PutOp{Key: []byte(key), Value: []byte("v")})
	}
	v2 := func(c v2tree.Command) (machine.Kind, []byte) { return machine.KindV2, c.Append(nil) }
	as := func(name string, revision uint64) func(machine.Kind, []byte) (machine.Kind, []byte) {
		return func(kind machine.Kind, payload []byte) (machine.Kind, []byte) {
			return machine.KindAs, machine.AppendAs(nil, &auth.Actor{Name: name, Revision: revision}, kind, payload)
		}
	}
	var entries []*raftpb.Entry
	var wants []error
	add := func(want error) func(machine.Kind, []byte) {
		return func(kind machine.Kind, payload []byte) {
			entries = append(entries, one(uint64(len(entries)+2), kind, payload))
			wants = append(wants, want)
		}
	}
	// seven commands about users and roles come before, from revision 1 on
	mayU, rootAt := as("u", 7), as("root", 7)

	// A command applied while authentication is disabled needs no authorization.
	add(nil)(put("/dir"))
	add(nil)(put("/dir/key"))
	add(nil)(v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/dir/brief"), HasTTL: true, TTL: time.Nanosecond}))
	add(nil)(change(auth.Command{Kind: auth.KindV2UserPut, Name: "root", Hash: "h"}))
	add(nil)(change(auth.Command{Kind: auth.KindV3UserAdd, Name: "u"}))
	add(nil)(change(auth.Command{Kind: auth.KindV2RoleCreate, Name: "r", Read: []string{"/dir/*"}, Write: []string{"/box", "/dir/*", "/sent/*"}}))
	add(nil)(change(auth.Command{Kind: auth.KindV3UserGrant, Name: "u", Role: "r"}))
	add(nil)(change(auth.Command{Kind: auth.KindV3RoleAdd, Name: "unused"}))
	add(nil)(change(auth.Command{Kind: auth.KindEnable, V2: true}))

	add(auth.OldRevision)(put("/dir/key"))                                    // proposed before
	add(auth.OldRevision)(machine.KindCompact, machine.AppendCompact(nil, 2)) // likewise
	add(auth.OldRevision)(change(auth.Command{Kind: auth.KindDisable}))       // likewise
	// its password may have changed
	add(auth.OldRevision)(as("u", 6)(put("/dir/key")))
	add(auth.UserNotFound)(as("nobody", 7)(put("/dir/key")))
	add(nil)(mayU(put("/dir/key")))
	add(auth.Denied)(mayU(put("/dir")))
	add(auth.Denied)(mayU(machine.KindDelete, machine.AppendDelete(nil, &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte("/dir/"), End: []byte{0}}})))
	add(auth.Denied)(mayU(machine.KindTxn, machine.AppendTxn(nil, &mvcc.TxnOp{Failure: []mvcc.Op{{Range: &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("x")}}}}})))
	add(auth.Denied)(mayU(machine.KindCompact, machine.AppendCompact(nil, 2)))
	add(auth.Denied)(mayU(change(auth.Command{Kind: auth.KindV3UserGrant, Name: "u", Role: "root"})))
	update := membership.Command{Kind: membership.KindUpdate, ID: 7, PeerURLs: []string{"http://p:2"}}
	add(auth.Denied)(mayU(machine.KindMembership, update.Append(nil)))
	// The key /dir of v3 would be deleted with the directory, and u may not write it.
	add(auth.Denied)(mayU(v2(v2tree.Command{Kind: v2tree.KindDelete, Path: []byte("/dir"), Recursive: true, Dir: true})))
	add(nil)(mayU(v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/dir/new"), Value: []byte("v")})))
	// The pattern /sent/* has the path /sent/, which names the same node as /sent.
	add(nil)(mayU(v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/sent"), Value: []byte("v")})))
	add(nil)(mayU(v2(v2tree.Command{Kind: v2tree.KindDelete, Path: []byte("/sent")})))
	add(auth.Denied)(mayU(v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/sentence"), Value: []byte("v")})))
	// A user may create in-order keys below a path that it may write, and no keys of other names.
	add(nil)(mayU(v2(v2tree.Command{Kind: v2tree.KindCreateInOrder, Path: []byte("/box"), Value: []byte("v")})))
	add(auth.Denied)(mayU(v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/box/name"), Value: []byte("v")})))
	add(auth.Denied)(mayU(v2(v2tree.Command{Kind: v2tree.KindCreateInOrder, Path: []byte("/boxes"), Value: []byte("v")})))
	add(nil)(v2(v2tree.Command{Kind: v2tree.KindExpire, Path: []byte("/dir/brief"), Deadline: 1}))
	publish := membership.Command{Kind: membership.KindPublish, ID: 7, Name: "n"}
	add(nil)(machine.KindMembership, publish.Append(nil))
	add(nil)(machine.KindAutoCompact, machine.AppendCompact(nil, 2))
	add(nil)(rootAt(machine.KindCompact, machine.AppendCompact(nil, 3)))
	add(nil)(rootAt(v2(v2tree.Command{Kind: v2tree.KindDelete, Path: []byte("/dir"), Recursive: true, Dir: true})))
	add(nil)(rootAt(v2(v2tree.Command{Kind: v2tree.KindDelete, Path: []byte("/box"), Recursive: true, Dir: true})))
	add(nil)(rootAt(change(auth.Command{Kind: auth.KindDisable})))
	add(auth.OldRevision)(rootAt(put("/dir/key")))
	add(nil)(put("/dir/key"))

	check := func() {
		t.Helper()
		var h allResults
		if err := h.apply(m, entries); err != nil {
			t.Fatal(err)
		}
		for i, want := range wants {
			if got := h.results[i].Err; !errors.Is(got, want) {
				t.Errorf("entry %d: %v, want %v", i+2, got, want)
			}
		}
		if got := m.Keys().Head().Keys(); got != 1 {
			t.Errorf("%d keys, want /dir/key alone", got)
		}
	}
	check()
	// After a crash without a flush, replaying the entries has the same result.
	crashed := fs.Crash(0, nil)
	if err := errors.Join(m.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db, m = openTest(t, crashed)
	check()
	bad := one(uint64(len(entries)+2), machine.KindAs, machine.AppendAs(nil, &auth.Actor{}, machine.KindAs, nil))
	if applied, err := m.Apply([]*raftpb.Entry{bad}, 1); err != nil || len(applied.Malformed) != 1 {
		t.Errorf("an actor on behalf of another: %v, malformed %v, want one refusal", err, applied.Malformed)
	}
	if err := errors.Join(m.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
}
