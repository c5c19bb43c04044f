package backup

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/storage"
)

// TestReplay: requests that an alarm of etcd refused are not applied, and checkpoints of leases
// are.
func TestReplay(t *testing.T) {
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // in memory
	im, err := machine.NewImporter(db, 1, 1, []membership.Member{{ID: 1}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := im.BeginCommands(); err != nil {
		t.Fatal(err)
	}
	p := &replayer{im: im, found: new(Imported), alarms: make(map[raised]bool)}
	type request = etcdserverpb.InternalRaftRequest
	put := &request{Put: &etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")}}
	del := &request{DeleteRange: &etcdserverpb.DeleteRangeRequest{Key: []byte("k")}}
	alarm := func(action etcdserverpb.AlarmRequest_AlarmAction, kind etcdserverpb.AlarmType) *request {
		return &request{Alarm: &etcdserverpb.AlarmRequest{Action: action, MemberID: 7, Alarm: kind}}
	}
	checkpoint := func(id, left int64) *request {
		return &request{LeaseCheckpoint: &etcdserverpb.LeaseCheckpointRequest{Checkpoints: []*etcdserverpb.LeaseCheckpoint{{ID: id, Remaining_TTL: left}}}}
	}
	const raise, disarm = etcdserverpb.AlarmRequest_ACTIVATE, etcdserverpb.AlarmRequest_DEACTIVATE
	for i, c := range []struct {
		request  *request
		revision int64 // afterwards
	}{
		{put, 2},
		{alarm(raise, etcdserverpb.AlarmType_NOSPACE), 2},
		{put, 2},
		{del, 3},
		{alarm(raise, etcdserverpb.AlarmType_CORRUPT), 3},
		{alarm(disarm, etcdserverpb.AlarmType_NOSPACE), 3},
		{put, 3},
		{del, 3},
		{alarm(disarm, etcdserverpb.AlarmType_CORRUPT), 3},
		{put, 4},
		{&request{LeaseGrant: &etcdserverpb.LeaseGrantRequest{ID: 5, TTL: 600}}, 4},
		{&request{LeaseGrant: &etcdserverpb.LeaseGrantRequest{ID: 6, TTL: 600}}, 4},
		{checkpoint(5, 100), 4},
		{checkpoint(6, 100), 4},
		{checkpoint(6, 0), 4},
		{checkpoint(99, 100), 4},
	} {
		if err := p.apply(uint64(i), c.request); err != nil {
			t.Fatal(err)
		}
		if got := im.Revision(); got != c.revision {
			t.Fatalf("after request %d, %v: revision %d, want %d", i, c.request, got, c.revision)
		}
	}
	if _, err := im.Finish(); err != nil {
		t.Fatal(err)
	}
	m, err := machine.Open(db)
	if err := errors.Join(err, im.Close()); err != nil {
		t.Fatal(err)
	}
	defer m.Close() //nolint:errcheck // in memory
	for id, want := range map[int64]int64{5: 100, 6: 600} {
		l, ok, err := lease.Get(m.Keys().Reading(), kv.LeaseID(id))
		if err != nil || !ok || l.Left(0) != want {
			t.Errorf("lease %d: %+v, %v, want %d s left", id, l, err, want)
		}
	}
	if v, err := m.Verify(); err != nil || v.Leases != 2 {
		t.Errorf("verified %+v, %v", v, err)
	}
}
