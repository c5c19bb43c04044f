package v2tree

import (
	"bytes"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// Directory is a directory that a v2 write has made, an entry of table d.
type Directory struct {
	// Prefix is the path with a slash at its end. It is valid during the call of visit.
	Prefix   []byte
	Created  int64          // revision
	Deadline kv.ClusterTime // 0 for none
}

// Directories visits the directories directly in the one with the given prefix, whose last byte is
// a slash, in the order of their prefixes, from the first prefix that is not before from; until
// visit returns false. It visits the directories as they are now, except those made after the
// revision of r. Directories that only exist because there are keys in them have no entry, and are
// not visited.
func Directories(r mvcc.Reading, prefix, from []byte, visit func(d Directory) bool) error {
	c := directoriesBelow(r, prefix)
	if bytes.Compare(from, prefix) > 0 {
		c.seek(from)
	}
	for c.more {
		// A directory has its entry before those in it, so that only a seek into a directory finds
		// another one first.
		end := childEnd(c.prefix(), len(prefix))
		if end+1 == len(c.prefix()) && !visit(Directory{Prefix: c.prefix(), Created: c.dir.created, Deadline: c.dir.deadline}) {
			break
		}
		c.seek(afterSubtree(c.prefix()[:end]))
	}
	return c.close()
}
