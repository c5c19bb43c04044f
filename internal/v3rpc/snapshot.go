package v3rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"cairn/internal/member"
	"cairn/internal/snapshot"
	"cairn/internal/version"
)

// blobBytes is the size of a snapshot's messages: etcd's 32 KiB.
const blobBytes = 32 << 10

// snapshotsMax is the maximum number of snapshots that are sent at a time. Each keeps tables on
// disk that compactions have replaced, until its client has read it.
const snapshotsMax = 4

// snapshotStream serves Maintenance.Snapshot: the state of this member as of now, in cairn's format
// (docs/formats/snapshot.md), with etcd's SHA-256 at the end. It needs the role root if
// authentication is enabled as of that moment, and no leader.
func snapshotStream(srv any, stream grpc.ServerStream) error {
	s := srv.(*server)
	if err := stream.RecvMsg(new(etcdserverpb.SnapshotRequest)); err != nil {
		return err
	}
	err := s.asRoot(stream.Context(), func(context.Context) error { return s.sendSnapshot(stream) })
	if err != nil {
		return WireError(err)
	}
	return nil
}

func (s *server) sendSnapshot(stream grpc.ServerStream) (err error) {
	select {
	case s.snapshots <- struct{}{}:
		defer func() { <-s.snapshots }()
	default:
		return member.ErrTooManyRequests
	}
	ctx := stream.Context()
	if err := s.snapshotStarts.begin(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() != nil {
			s.snapshotStarts.abandon()
		}
	}()
	began := time.Now()
	source, err := s.member.State.Snapshot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	disk, _ := s.member.Space.StateBytes()
	file := snapshot.NewFile(source)
	blob, sent := make([]byte, blobBytes), int64(0)
	for last := false; !last; {
		n, err := io.ReadFull(file, blob)
		last = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return fmt.Errorf("read the state: %w", err)
		}
		sent += int64(n)
		resp := &etcdserverpb.SnapshotResponse{
			Blob: blob[:n], Version: version.Cluster, // as in etcd without a header
		}
		if !last {
			// The remaining size is known only once it has been compressed. This estimate is based
			// on the size of the state on disk, and 0 only in the last message.
			resp.RemainingBytes = uint64(max(disk-sent, 1))
		}
		if err := stream.SendMsg(resp); err != nil {
			return err
		}
	}
	s.meters.BackendSnapshot.Observe(time.Since(began).Seconds())
	return nil
}
