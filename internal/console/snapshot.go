package console

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"cairn/internal/auth"
	"cairn/internal/snapshot"
)

// backupsMax is the number of snapshots that are sent at a time.
const backupsMax = 2

// snapshotSize is the header with the approximate size of a snapshot.
const snapshotSize = "X-Cairn-Snapshot-Bytes"

// snapshot sends the whole state as a file, as etcdctl snapshot save writes it, for the role root.
func (c *call) snapshot() (any, error) {
	if err := c.decode(&struct{}{}); err != nil {
		return nil, err
	}
	select {
	case c.backups <- struct{}{}:
		defer func() { <-c.backups }()
	default:
		return nil, errBusy
	}
	return nil, c.guard().Do(c.r.Context(), c.credentials(c.r), func(_ context.Context, caller *auth.Caller) error {
		if err := auth.PermitRoot(caller.Subject); err != nil {
			return err
		}
		return c.sendSnapshot()
	})
}

func (c *call) sendSnapshot() (err error) {
	source, err := c.member.Snapshot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	// The size is known only once the state has been compressed.
	disk, _ := c.member.StateBytes()
	h := c.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="snapshot.db"`)
	h.Set(snapshotSize, strconv.FormatInt(disk, 10))
	if _, err := io.Copy(c.w, snapshot.NewFile(source)); err != nil {
		// The response has begun: it must not look complete.
		panic(http.ErrAbortHandler)
	}
	return nil
}
