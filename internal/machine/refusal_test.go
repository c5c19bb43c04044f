package machine

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// TestMalformedEntries: an entry that cannot be decoded is refused as a whole. It changes the
// position and nothing else, alone and behind another entry, and also when it is replayed.
func TestMalformedEntries(t *testing.T) {
	cut := func(e *raftpb.Entry, n int) *raftpb.Entry {
		e.Data = e.Data[:len(e.Data)-n]
		return e
	}
	newer := entry(3, 5, put("a", "1"))
	newer.Data[0] = 2
	change := entry(3, 5)
	change.Type = raftpb.EntryConfChange.Enum()
	garbage := rawEntry(3, []byte("\xff\xff\xff\xff\xff"))
	garbage.Type = raftpb.EntryConfChangeV2.Enum()
	cases := map[string]*raftpb.Entry{
		"newer version":                   newer,
		"header alone, cut":               cut(entry(3, 5), 1),
		"one byte":                        rawEntry(3, []byte{entryVersion}),
		"last command cut":                cut(entry(3, 5, put("a", "1"), put("b", "1")), 1),
		"command without length":          rawEntry(3, append(entry(3, 5, put("a", "1")).Data, byte(KindPut))),
		"configuration change, version 1": change,
		"configuration change, garbage":   garbage,
	}
	for name, bad := range cases {
		t.Run(name, func(t *testing.T) {
			if err := CheckEntry(bad); !errors.Is(err, ErrBadCommand) {
				t.Errorf("CheckEntry: %v, want %v", err, ErrBadCommand)
			}
			st, want := newState(t), newState(t)
			first, last := entry(2, 4, put("before", "x"), compact(2)), entry(4, 6, put("after", "x"))
			st.check(st.apply([]*raftpb.Entry{first, bad}))
			if got := st.malformed; len(got) != 1 || got[0].Index != 3 || !errors.Is(got[0].Err, ErrBadCommand) {
				t.Errorf("malformed %v, want entry 3", got)
			}
			st.check(st.m.Flush())
			st.crash()
			st.malformed = nil
			st.check(st.apply([]*raftpb.Entry{last}))
			if got := st.malformed; len(got) != 0 {
				t.Errorf("malformed %v in a good entry", got)
			}
			want.check(want.apply([]*raftpb.Entry{first, rawEntry(3, nil), last}))
			if diff := difference(st.dump(), want.dump()); diff != "" {
				t.Errorf("another state than with an empty entry: %s", diff)
			}
		})
	}
}

// TestMalformedCommands: a command whose payload cannot be decoded is refused; the other commands
// of the entry are applied.
func TestMalformedCommands(t *testing.T) {
	shortPut := put("a", "1")
	shortPut.payload = shortPut.payload[:len(shortPut.payload)-1]
	longPut := put("a", "1")
	longPut.payload = append(longPut.payload, 0)
	deep := &mvcc.TxnOp{}
	for range TxnDepthMax + 2 {
		deep = &mvcc.TxnOp{Success: []mvcc.Op{{Txn: deep}}}
	}
	add := membership.Command{Kind: membership.KindAdd, ID: 7}
	as := AppendAs(nil, &auth.Actor{Name: "a"}, KindAs, nil)
	cases := map[string]command{
		"unknown kind":                           {99, []byte("x")},
		"kind 0":                                 {0, nil},
		"put cut":                                shortPut,
		"put with a byte more":                   longPut,
		"empty put":                              {KindPut, nil},
		"empty delete":                           {KindDelete, nil},
		"empty compaction":                       {KindCompact, nil},
		"empty transaction":                      {KindTxn, nil},
		"transaction of many":                    {KindTxn, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}},
		"transaction nested deep":                txn(deep),
		"operation of no kind":                   {KindTxn, []byte{0, 1, 9, 0}},
		"empty v2 command":                       {KindV2, nil},
		"v2 command of no kind":                  {KindV2, []byte{1, 99, 0, 2, '/', 'a'}},
		"v2 path without a slash":                {KindV2, []byte{1, 1, 0, 1, 'a'}},
		"empty lease command":                    {KindLease, nil},
		"empty auth command":                     {KindAuth, nil},
		"empty alarm command":                    {KindAlarm, nil},
		"empty membership command":               {KindMembership, nil},
		"member added by an ordinary entry":      {KindMembership, add.Append(nil)},
		"command of an actor, empty":             {KindAs, nil},
		"command of an actor in another of them": {KindAs, as},
	}
	for name, bad := range cases {
		t.Run(name, func(t *testing.T) {
			e := entry(2, 5, put("a", "1"), bad, put("b", "2"))
			if err := CheckEntry(e); !errors.Is(err, ErrBadCommand) {
				t.Errorf("CheckEntry: %v, want %v", err, ErrBadCommand)
			}
			st, want := newState(t), newState(t)
			st.check(st.apply([]*raftpb.Entry{e}))
			want.check(want.apply([]*raftpb.Entry{entry(2, 5, put("a", "1"), put("b", "2"))}))
			if got := st.got[2][1]; !errors.Is(got.Err, ErrBadCommand) {
				t.Errorf("result %+v, want a refusal with %v", got, ErrBadCommand)
			}
			if got := st.malformed; len(got) != 1 || got[0].Index != 2 {
				t.Errorf("malformed %v, want one of entry 2", got)
			}
			if diff := difference(st.dump(), want.dump()); diff != "" {
				t.Errorf("another state than without the command: %s", diff)
			}
		})
	}
}

// TestEntryOutOfOrder: a gap or a repetition in the log is a failure of the member, not a refusal.
func TestEntryOutOfOrder(t *testing.T) {
	for _, index := range []uint64{1, 2, 4} {
		st := newState(t)
		st.check(st.apply([]*raftpb.Entry{entry(2, 4, put("a", "1"))}))
		before := st.dump()
		if err := st.apply([]*raftpb.Entry{entry(index, 5, put("b", "1"))}); err == nil || kv.Refused(err) {
			t.Errorf("entry %d after entry 2: error %v, want a failure", index, err)
		}
		if diff := difference(st.dump(), before); diff != "" {
			t.Errorf("entry %d after entry 2 changed the store: %s", index, diff)
		}
	}
}

// TestReservedMemberIDs: raft would ignore or misread these IDs, so that table m and raft's
// configuration would differ.
func TestReservedMemberIDs(t *testing.T) {
	for _, id := range []uint64{0, ^uint64(0), ^uint64(0) - 1} {
		st := newState(t)
		c := membership.Command{Kind: membership.KindAdd, ID: id, PeerURLs: []string{"http://a:1"}}
		st.check(st.apply([]*raftpb.Entry{changeEntry(2, c)}))
		if got := st.got[2][0]; !errors.Is(got.Err, membership.ErrReservedID) || len(st.changes) > 0 {
			t.Errorf("member %x: %v with changes %v, want %v", id, got.Err, st.changes, membership.ErrReservedID)
		}
	}
}

// Modes of FuzzApply: how the bytes become an entry.
const (
	fuzzEntry       = 0   // the data of an entry
	fuzzCommandMax  = 15  // up to it: the payload of a command of this kind
	fuzzChange      = 16  // the data of a configuration change of raft
	fuzzContext     = 17  // a membership command in its configuration change
	fuzzOldChange   = 18  // a configuration change of raft's first version
	fuzzModes       = 19  // number of modes
	fuzzAs          = 32  // flag: on behalf of the user u
	fuzzAuthEnabled = 64  // flag: authentication is on
	fuzzTwice       = 128 // flag: two such entries
)

// fuzzedEntry makes an entry of bytes.
func fuzzedEntry(index uint64, mode byte, data []byte, actor *auth.Actor) *raftpb.Entry {
	kind := mode & 31 % fuzzModes
	header := Header{Time: 50, Origin: 1, Batch: index}.Append(nil)
	switch kind {
	case fuzzEntry:
		return rawEntry(index, data)
	case fuzzChange:
		e := rawEntry(index, data)
		e.Type = raftpb.EntryConfChangeV2.Enum()
		return e
	case fuzzOldChange:
		e := rawEntry(index, data)
		e.Type = raftpb.EntryConfChange.Enum()
		return e
	case fuzzContext:
		if c, err := membership.Decode(data); err == nil && c.Kind.Reconfigures() {
			return changeEntry(index, c)
		}
		kind = byte(KindMembership)
	}
	if mode&fuzzAs != 0 {
		return rawEntry(index, AppendCommand(header, KindAs, AppendAs(nil, actor, Kind(kind), data)))
	}
	return rawEntry(index, AppendCommand(header, Kind(kind), data))
}

// FuzzApply: any bytes, as an entry, as a command of each kind, or as a configuration change, cause
// only results or refusals, and leave a readable store.
func FuzzApply(f *testing.F) {
	add := func(c command) { f.Add(byte(c.kind), c.payload) }
	for _, c := range []command{
		put("a", "1"), keep("a"), del("a", "z"), compact(2), compact(-3),
		txn(&mvcc.TxnOp{
			Compares: []mvcc.Compare{{KeyRange: kv.KeyRange{Key: []byte("a"), End: []byte{0}}, Target: mvcc.CompareLease}},
			Success:  []mvcc.Op{{Put: &mvcc.PutOp{Key: []byte("x"), Lease: 3}}, {Range: &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("a")}, Revision: 2}}},
			Failure:  []mvcc.Op{{Delete: &mvcc.DeleteOp{}}, {Txn: &mvcc.TxnOp{Success: []mvcc.Op{{Range: &mvcc.RangeOp{}}}}}},
		}),
		v2(v2tree.Command{Kind: v2tree.KindCreateInOrder, Path: []byte("/q"), HasTTL: true, TTL: 5, Value: []byte("x")}),
		v2(v2tree.Command{Kind: v2tree.KindDelete, Path: []byte("/q"), Recursive: true}),
		v2(v2tree.Command{Kind: v2tree.KindExpire, Path: []byte("/d"), Dir: true, Deadline: 20}),
		v2(v2tree.Command{Kind: v2tree.KindUpdate, Path: []byte("/d"), HasTTL: true, TTL: -1}),
	} {
		add(c)
	}
	for _, c := range []lease.Command{{Kind: lease.KindGrant, ID: 3, TTL: lease.TTLMax}, {Kind: lease.KindRevoke, ID: 9}, {Kind: lease.KindExpire, ID: 9, Deadline: 20}} {
		add(command{KindLease, c.Append(nil)})
	}
	for _, c := range []membership.Command{
		{Kind: membership.KindAdd, ID: 5, PeerURLs: []string{"http://a:1"}, Learner: true, LearnersMax: 1},
		{Kind: membership.KindRemove, ID: 2},
		{Kind: membership.KindPromote, ID: 2},
		{Kind: membership.KindUpdate, ID: 1, PeerURLs: []string{"http://b:1"}},
		{Kind: membership.KindPublish, ID: 1, Name: "n", Version: "3.7.1"},
	} {
		f.Add(byte(fuzzContext), c.Append(nil))
		f.Add(byte(fuzzContext|fuzzAuthEnabled), c.Append(nil))
	}
	for kind := auth.KindEnable; kind <= auth.KindLogin; kind++ {
		c := auth.Command{
			Kind: kind, Name: "u", Hash: "h", Role: "r", Roles: []string{"r"}, Grant: []string{"r"}, Read: []string{"/a*"}, Key: "k",
			Permission: auth.Permission{KeyRange: kv.KeyRange{Key: []byte("a")}, Access: auth.Read},
		}
		f.Add(byte(KindAuth), c.Append(nil))
		f.Add(byte(KindAuth)|fuzzAs|fuzzAuthEnabled, c.Append(nil))
	}
	for action := alarm.Activate; action <= alarm.Lift; action++ {
		c := alarm.Command{Action: action, Kind: alarm.NoSpace, Member: 1}
		f.Add(byte(KindAlarm)|fuzzTwice, c.Append(nil))
	}
	f.Add(byte(fuzzEntry), AppendCommand(Header{Time: 5, Origin: 1, Batch: 9}.Append(nil), KindPut, put("a", "1").payload))
	f.Add(byte(fuzzChange), changeEntry(9, membership.Command{Kind: membership.KindAdd, ID: 5}).Data)
	f.Add(byte(fuzzOldChange), []byte{8, 1})
	f.Fuzz(func(t *testing.T, mode byte, data []byte) {
		st := newState(t)
		st.check(st.apply(fuzzBase(mode&fuzzAuthEnabled != 0)))
		actor := &auth.Actor{Name: "u", Revision: st.m.Auth().State().Revision}
		entries := []*raftpb.Entry{fuzzedEntry(20, mode, data, actor)}
		if mode&fuzzTwice != 0 {
			entries = append(entries, fuzzedEntry(21, mode, data, actor))
		}
		for i := range entries {
			CheckEntry(entries[i]) //nolint:errcheck // it must not panic
		}
		before := *st.m.Keys().Head()
		if err := st.apply(entries); err != nil {
			t.Fatalf("mode %d, %x: %v", mode, data, err)
		}
		head := *st.m.Keys().Head()
		if want := 19 + uint64(len(entries)); st.m.AppliedIndex() != want || head.Revision < before.Revision {
			t.Fatalf("mode %d, %x: entry %d, want %d; revision %d, was %d", mode, data, st.m.AppliedIndex(), want, head.Revision, before.Revision)
		}
		for batch := uint64(20); batch < 22; batch++ {
			for _, r := range st.got[batch] {
				if r.Err != nil && !kv.Refused(r.Err) {
					t.Fatalf("mode %d, %x: result %v is not a refusal", mode, data, r.Err)
				}
			}
		}
		var keys mvcc.Collector
		sum, err := st.m.Keys().Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte{}, End: []byte{0}}}, &keys)
		if err != nil || sum.Count != int64(len(keys.Keys)) || sum.Count != head.Keys() {
			t.Fatalf("mode %d, %x: %d keys, count %d, head %d, %v", mode, data, len(keys.Keys), sum.Count, head.Keys(), err)
		}
		dump := st.dump()
		st.check(st.m.Close())
		st.openMachine()
		if diff := difference(st.dump(), dump); diff != "" {
			t.Fatalf("mode %d, %x: opened again: %s", mode, data, diff)
		}
	})
}

// fuzzBase is a log that creates an object of each kind, for the fuzzed bytes to act on. It ends at
// entry 19.
func fuzzBase(authEnabled bool) []*raftpb.Entry {
	authCommand := func(c auth.Command) command { return command{KindAuth, c.Append(nil)} }
	leaseCommand := func(c lease.Command) command { return command{KindLease, c.Append(nil)} }
	commands := []command{
		put("a", "1"), put("b", "1"), put("a", "2"), compact(3), put("a", "3"), del("b", ""),
		leaseCommand(lease.Command{Kind: lease.KindGrant, ID: 9, TTL: 1}),
		{KindPut, AppendPut(nil, &mvcc.PutOp{Key: []byte("l"), Lease: 9})},
		v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/d"), Dir: true, HasTTL: true, TTL: 15}),
		v2(v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/d/k"), HasTTL: true, TTL: 15}),
		authCommand(auth.Command{Kind: auth.KindV3UserAdd, Name: "u", Hash: "h"}),
		authCommand(auth.Command{Kind: auth.KindV3UserAdd, Name: auth.RootName, Hash: "h"}),
		authCommand(auth.Command{Kind: auth.KindV3RoleAdd, Name: "r"}),
		authCommand(auth.Command{Kind: auth.KindV3UserGrant, Name: auth.RootName, Role: auth.RootName}),
		authCommand(auth.Command{Kind: auth.KindV3UserGrant, Name: "u", Role: "r"}),
	}
	if authEnabled {
		commands = append(commands, authCommand(auth.Command{Kind: auth.KindEnable}))
	}
	learner := membership.Command{Kind: membership.KindAdd, ID: 2, Learner: true, LearnersMax: 3, PeerURLs: []string{"http://c:1"}}
	entries := []*raftpb.Entry{changeEntry(2, learner), entry(3, 5, commands...)}
	for index := uint64(4); index < 20; index++ {
		entries = append(entries, rawEntry(index, nil))
	}
	return entries
}

// changeEntry carries a membership command in its configuration change.
func changeEntry(index uint64, c membership.Command) *raftpb.Entry {
	cc := NewChange(&c)
	cc.Context = AppendCommand(Header{Time: 5, Origin: 1, Batch: index}.Append(nil), KindMembership, c.Append(nil))
	data, err := proto.Marshal(cc)
	if err != nil {
		panic(err)
	}
	e := rawEntry(index, data)
	e.Type = raftpb.EntryConfChangeV2.Enum()
	return e
}
