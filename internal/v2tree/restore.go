package v2tree

import (
	"cairn/internal/deadline"
	"cairn/internal/kv"
	"cairn/internal/storage"
)

// RestoreDirectory writes a directory of another store into a batch; revision is the last one at
// which that store changed a directory. The root needs no entry.
func RestoreDirectory(b *storage.Batch, path []byte, created, revision int64, due kv.ClusterTime) {
	b.Set(dirKey(nil, path), directory{created: created, deadline: due}.append(nil))
	moveDeadline(b, deadline.Directory, path, 0, due)
	b.Set(rootKey, directory{created: revision}.append(nil))
}

// RestoreDeadline writes the deadline of a key of another store into a batch. The key's record has
// it, too.
func RestoreDeadline(b *storage.Batch, path []byte, due kv.ClusterTime) {
	moveDeadline(b, deadline.Key, path, 0, due)
}
