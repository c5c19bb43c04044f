package main

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var backupKind = workloadKind{
	name:    "backup",
	summary: "backups of the whole state (Maintenance.Snapshot), received and dropped",
	example: "bench backup -total 1 -pid $(pidof etcd)",
	open: func(ctx context.Context, s settings, _ *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		return &backupWorkload{v3Conns: conns}, err
	},
}

type backupWorkload struct {
	*v3Conns
	received atomic.Int64
}

func (w *backupWorkload) kinds() []string { return []string{"backup"} }

func (w *backupWorkload) client(i int) request {
	client := pb.NewMaintenanceClient(w.conns[i%len(w.conns)])
	return func(ctx context.Context, _ uint64) (int, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := client.Snapshot(ctx, &pb.SnapshotRequest{})
		if err != nil {
			return 0, err
		}
		left := uint64(0)
		for {
			response, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				if left != 0 {
					err = wrongCount("bytes of the backup left at its end", int64(left), 0)
					return 0, err
				}
				return 0, nil
			}
			if err != nil {
				return 0, err
			}
			left = response.RemainingBytes
			w.received.Add(int64(len(response.Blob)))
		}
	}
}

func (w *backupWorkload) counters() map[string]int64 {
	return map[string]int64{"bytes": w.received.Load()}
}
