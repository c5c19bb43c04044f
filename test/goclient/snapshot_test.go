package goclient

import (
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// fields checks each message of the stream.
func fields(f *fixture) {
	f.t.Helper()
	stream, err := etcdserverpb.NewMaintenanceClient(f.ActiveConnection()).Snapshot(f.ctx, &etcdserverpb.SnapshotRequest{})
	if err != nil {
		f.t.Fatal(err)
	}
	size, remaining := 0, uint64(1)
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.t.Fatal(err)
		}
		if remaining == 0 {
			f.t.Error("a message follows the last one")
		}
		size, remaining = size+len(r.Blob), r.RemainingBytes
		if r.Header != nil || r.Version == "" {
			f.t.Errorf("header %v, version %q; want no header, as in etcd, and a version", r.Header, r.Version)
		}
	}
	if remaining != 0 || size%512 != sha256.Size {
		f.t.Errorf("%d bytes; %d remain at the end", size, remaining)
	}
}

// TestSnapshotStream takes a snapshot as etcd's client does, which verifies the SHA-256 at its end,
// and checks that only the role root has permission.
func TestSnapshotStream(t *testing.T) {
	f := guarded(t)
	take := func(f *fixture) ([]byte, error) {
		stream, err := f.Snapshot(f.ctx)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(stream)
		return b, errors.Join(err, stream.Close())
	}
	b, err := take(f.as("root", "rp"))
	if err != nil {
		t.Fatal(err)
	}
	at := len(b) - sha256.Size
	if at < 0 || at%512 != 0 {
		t.Fatalf("%d bytes, which etcd's clients do not accept as a snapshot with its SHA-256", len(b))
	}
	if sum := sha256.Sum256(b[:at]); string(sum[:]) != string(b[at:]) {
		t.Errorf("SHA-256 %x, the trailer has %x", sum, b[at:])
	}
	fields(f.as("root", "rp"))
	if b, err := take(f.as("v3user", "p3")); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("a user without the role root got %d bytes: %v", len(b), err)
	}
}
