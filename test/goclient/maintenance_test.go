package goclient

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

// v2set sets a key by v2 and returns status and body.
func (f *fixture) v2set(key, value string) (int, string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.ctx, http.MethodPut, f.server.URL()+"/v2/keys"+key, strings.NewReader(url.Values{"value": {value}}.Encode()))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (f *fixture) alarms() []*etcdserverpb.AlarmMember {
	f.t.Helper()
	resp, err := f.AlarmList(f.ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.Alarms
}

// TestAlarms: an operator's alarms refuse the same requests as etcd's, survive a restart, and are
// cleared when they are disarmed.
func TestAlarms(t *testing.T) {
	f := start(t)
	raw := etcdserverpb.NewMaintenanceClient(f.ActiveConnection())
	status, err := f.Status(f.ctx, f.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	me := status.Header.MemberId
	lease := f.grant(60)
	f.put("a", "1", "b", "1")
	activate := func(kind etcdserverpb.AlarmType) {
		t.Helper()
		resp, err := raw.Alarm(f.ctx, &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: me, Alarm: kind})
		if err != nil || len(resp.Alarms) != 1 || resp.Alarms[0].MemberID != me || resp.Alarms[0].Alarm != kind {
			t.Fatalf("activate responds %v, %v", resp, err)
		}
	}
	activate(etcdserverpb.AlarmType_NOSPACE)
	f.server.Kill()
	f.server.Restart()
	_, err = f.Put(f.ctx, "a", "2")
	f.wantError("put without space", err, rpctypes.ErrNoSpace)
	_, err = f.Txn(f.ctx).Then(clientv3.OpGet("a")).Else(clientv3.OpPut("a", "2")).Commit()
	f.wantError("transaction with a put without space", err, rpctypes.ErrNoSpace)
	_, err = f.Grant(f.ctx, 10)
	f.wantError("grant without space", err, rpctypes.ErrNoSpace)
	if code, body := f.v2set("/v", "1"); code != http.StatusInternalServerError ||
		!strings.Contains(body, `"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: mvcc: database space exceeded"`) {
		t.Errorf("v2 set without space: %d %s", code, body)
	}
	if resp, err := f.Delete(f.ctx, "b"); err != nil || resp.Deleted != 1 {
		t.Errorf("delete without space: %v, %v", resp, err)
	}
	if _, err := f.KeepAliveOnce(f.ctx, lease); err != nil {
		t.Error(err)
	}
	if _, err := f.Compact(f.ctx, 3); err != nil {
		t.Error(err)
	}
	if status, err = f.Status(f.ctx, f.server.URL()); err != nil || !slices.Equal(status.Errors, []string{fmt.Sprintf("memberID:%d alarm:NOSPACE ", me)}) {
		t.Errorf("status reports %q, %v", status.Errors, err)
	}

	activate(etcdserverpb.AlarmType_CORRUPT)
	_, err = f.Put(f.ctx, "a", "2")
	f.wantError("put into a corrupt cluster", err, rpctypes.ErrCorrupt)
	_, err = f.Delete(f.ctx, "a")
	f.wantError("delete from a corrupt cluster", err, rpctypes.ErrCorrupt)
	_, err = f.Revoke(f.ctx, lease)
	f.wantError("revocation in a corrupt cluster", err, rpctypes.ErrCorrupt)
	_, err = f.Compact(f.ctx, 4)
	f.wantError("compaction of a corrupt cluster", err, rpctypes.ErrCorrupt)
	if got := f.get("a"); got.Count != 1 {
		t.Error("etcd reads from a corrupt cluster")
	}
	if got := f.alarms(); len(got) != 2 {
		t.Errorf("alarms %v", got)
	}
	// As etcdctl disarms: all alarms.
	if resp, err := f.AlarmDisarm(f.ctx, &clientv3.AlarmMember{}); err != nil || len(resp.Alarms) != 2 {
		t.Errorf("disarm responds %v, %v", resp, err)
	}
	if got := f.alarms(); len(got) != 0 {
		t.Errorf("alarms after disarming: %v", got)
	}
	f.put("a", "2")

	for _, req := range []*etcdserverpb.AlarmRequest{{Action: 7}, {Action: 1, Alarm: 3}, {Action: 1, Alarm: 1, MemberID: me + 1}} {
		if _, err := raw.Alarm(f.ctx, req); err == nil {
			t.Errorf("%v is accepted", req)
		}
	}
}

// TestQuota: a store that exceeds its quota raises the alarm, deleting and compacting remain
// possible, and the alarm is cleared automatically when space is free again.
func TestQuota(t *testing.T) {
	f := start(t, "--quota-backend-bytes", "12000000", "--snapshot-count", "5")
	value := make([]byte, 1<<20)
	state := uint64(1)
	fill := func() error {
		for i := range value { // not compressible
			state = state*6364136223846793005 + 1442695040888963407
			value[i] = byte(state >> 56)
		}
		_, err := f.Put(f.ctx, fmt.Sprint("k", state), string(value))
		return err
	}
	var err error
	for deadline := time.Now().Add(3 * time.Minute); err == nil && time.Now().Before(deadline); {
		err = fill()
	}
	f.wantError("a full store", err, rpctypes.ErrNoSpace)
	harness.Await(t, "an alarm is raised", func() bool { return len(f.alarms()) > 0 })
	if a := f.alarms()[0]; a.Alarm != etcdserverpb.AlarmType_NOSPACE || a.MemberID == 0 {
		t.Errorf("alarm %v", a)
	}
	deleted, err := f.Delete(f.ctx, "k", clientv3.WithPrefix())
	if err != nil || deleted.Deleted < 5 {
		t.Fatalf("delete responds %v, %v", deleted, err)
	}
	if _, err := f.Compact(f.ctx, deleted.Header.Revision); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "the alarm is cleared", func() bool { return len(f.alarms()) == 0 })
	if err := fill(); err != nil {
		t.Errorf("put when space is back: %v", err)
	}
	if status, err := f.Status(f.ctx, f.server.URL()); err != nil || status.DbSizeQuota != 12000000 || status.DbSize > 12000000 || len(status.Errors) != 0 {
		t.Errorf("status %v, %v", status, err)
	}
}

// TestSmallQuota: a quota of some kilobytes works as in etcd, since operators test their alarms
// that way: data in memory counts.
func TestSmallQuota(t *testing.T) {
	const quota, size = 53248, 4096
	f := start(t, "--quota-backend-bytes", fmt.Sprint(quota))
	taken := 0
	var err error
	for ; err == nil && taken < 100; taken++ {
		_, err = f.Put(f.ctx, fmt.Sprint("k", taken), strings.Repeat("v", size))
	}
	f.wantError("a full store", err, rpctypes.ErrNoSpace)
	if taken--; taken < 3 || taken > 12 { // etcd 3.4 accepts 8
		t.Errorf("%d puts of %d bytes fit into a quota of %d", taken, size, quota)
	}
	harness.Await(t, "an alarm is raised", func() bool { return len(f.alarms()) > 0 })
	status, err := f.Status(f.ctx, f.server.URL())
	if err != nil || status.DbSize <= quota-size || status.DbSizeInUse < int64(taken*size) || len(status.Errors) == 0 {
		t.Errorf("status %v, %v", status, err)
	}
}

// TestMaintenance checks the responses of the other calls.
func TestMaintenance(t *testing.T) {
	f := start(t)
	raw := etcdserverpb.NewMaintenanceClient(f.ActiveConnection())
	hash := func(rev int64) *clientv3.HashKVResponse {
		t.Helper()
		resp, err := f.HashKV(f.ctx, f.server.URL(), rev)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	before := f.put("a", "1", "b", "1")[1]
	first := hash(0)
	if first.HashRevision != before || first.CompactRevision != -1 || first.Header.Revision != before || first.Hash == 0 {
		t.Errorf("hash %v at revision %d", first, before)
	}
	f.put("a", "2", "c", "1")
	if again := hash(before); again.Hash != first.Hash || again.HashRevision != before || again.Header.Revision != before+2 {
		t.Errorf("hash of the past %v, when it was present %v", again, first)
	}
	if _, err := f.Compact(f.ctx, before+1); err != nil {
		t.Fatal(err)
	}
	if h := hash(0); h.CompactRevision != before+1 || h.HashRevision != before+2 {
		t.Errorf("hash after a compaction: %v", h)
	}
	_, err := f.HashKV(f.ctx, f.server.URL(), before)
	f.wantError("hash of a compacted revision", err, rpctypes.ErrCompacted)
	_, err = f.HashKV(f.ctx, f.server.URL(), before+3)
	f.wantError("hash of a revision to come", err, rpctypes.ErrFutureRev)
	whole, err := raw.Hash(f.ctx, &etcdserverpb.HashRequest{})
	if err != nil || whole.Hash == 0 || whole.Header.Revision != before+2 {
		t.Errorf("hash of everything %v, %v", whole, err)
	}
	if resp, err := f.Defragment(f.ctx, f.server.URL()); err != nil || resp.Header != nil {
		t.Errorf("the response to Defragment is %v, %v; want no header, as in etcd", resp, err)
	}
	status, err := f.Status(f.ctx, f.server.URL())
	if err != nil || status.Version != "3.7.1" || status.StorageVersion != "3.7.0" || status.DbSize < status.DbSizeInUse || status.DbSize == 0 || status.Leader != status.Header.MemberId ||
		status.RaftIndex == 0 || status.RaftAppliedIndex == 0 || status.RaftTerm == 0 || status.IsLearner || len(status.Errors) != 0 || status.DowngradeInfo.GetEnabled() {
		t.Errorf("status %v, %v", status, err)
	}
	for _, c := range []struct {
		action  clientv3.DowngradeAction
		version string
		want    error
	}{
		{clientv3.DowngradeValidate, "three", rpctypes.ErrWrongDowngradeVersionFormat},
		{clientv3.DowngradeEnable, "3", rpctypes.ErrWrongDowngradeVersionFormat},
		{clientv3.DowngradeValidate, "3.5.0", rpctypes.ErrInvalidDowngradeTargetVersion},
		{clientv3.DowngradeEnable, "3.7", rpctypes.ErrInvalidDowngradeTargetVersion},
		{clientv3.DowngradeCancel, "", rpctypes.ErrNoInflightDowngrade},
	} {
		_, err := f.Downgrade(f.ctx, c.action, c.version)
		f.wantError(fmt.Sprint("downgrade ", c.action, " to ", c.version), err, c.want)
	}
	if _, err := f.Downgrade(f.ctx, clientv3.DowngradeValidate, "3.6"); err == nil || !strings.Contains(err.Error(), "cannot downgrade to 3.6") {
		t.Errorf("downgrade to the version before: %v", err)
	}
}
