package goclient

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"cairn/test/harness"
)

// TestSnapshotStream receives a backup message by message: what remains becomes less and ends at 0, and the last 32 bytes are the
// checksum of all before them.
func TestSnapshotStream(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " does not tell the version of a backup")
	}
	f := start(t)
	revision := f.put("k", "v")[0]
	stream, err := etcdserverpb.NewMaintenanceClient(f.ActiveConnection()).Snapshot(f.ctx, &etcdserverpb.SnapshotRequest{})
	must(t, err)
	var all bytes.Buffer
	remaining := uint64(1)
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if all.Len() == 0 && (resp.Header.GetRevision() < revision || resp.Header.GetMemberId() == 0 || resp.Version == "") {
			t.Errorf("the first message has version %q and header %v", resp.Version, resp.Header)
		}
		all.Write(resp.Blob)
		remaining = resp.RemainingBytes
	}
	if remaining != 0 {
		t.Errorf("after the last message %d bytes remain", remaining)
	}
	body := all.Bytes()[:max(0, all.Len()-sha256.Size)]
	if sum := sha256.Sum256(body); len(body) == 0 || !bytes.Equal(sum[:], all.Bytes()[len(body):]) {
		t.Errorf("%d bytes do not end with their checksum", all.Len())
	}
}
