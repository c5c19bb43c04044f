package storage

import (
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// CrashableFS is an in-memory file system that distinguishes synced bytes, for tests and
// simulation.
type CrashableFS struct{ *vfs.MemFS }

// NewCrashableFS returns an empty file system in memory.
func NewCrashableFS() CrashableFS { return CrashableFS{vfs.NewCrashableMem()} }

// Crash returns the disk after a power failure now: all synced data, and of the rest each piece
// with the given probability in percent.
func (fs CrashableFS) Crash(unsyncedPercent int, rng *rand.Rand) CrashableFS {
	return CrashableFS{fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsyncedPercent, RNG: rng})}
}
