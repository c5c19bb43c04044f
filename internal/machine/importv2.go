package machine

import (
	"cairn/internal/kv"
	"cairn/internal/v2tree"
)

// Directory imports a directory of v2. It must follow all changes.
func (im *Importer) Directory(path []byte, created int64, deadline kv.ClusterTime) error {
	if err := im.ready(); err != nil {
		return err
	}
	v2tree.RestoreDirectory(im.m.b, path, created, im.m.w.Revision(), deadline)
	return nil
}

// Deadline imports the deadline of a key of v2. It must follow all changes.
func (im *Importer) Deadline(path []byte, deadline kv.ClusterTime) error {
	if err := im.ready(); err != nil {
		return err
	}
	v2tree.RestoreDeadline(im.m.b, path, deadline)
	return nil
}

// SetTime sets cluster time, which must not go back. The new cluster continues from it.
func (im *Importer) SetTime(t kv.ClusterTime) { im.m.next.time = max(im.m.next.time, t) }

// Time returns the cluster time.
func (im *Importer) Time() kv.ClusterTime { return im.m.next.time }

// Revision returns the revision after the last command. It must follow BeginCommands.
func (im *Importer) Revision() int64 { return im.m.w.Revision() }

// Advance increments the revision by one, for a change of the other store that has no equivalent
// here.
func (im *Importer) Advance() error {
	im.m.w.Start()
	im.m.w.Advance()
	return im.m.w.End()
}

// ApplyV2 applies a command of v2. The result has the error of a refused command.
func (im *Importer) ApplyV2(c *v2tree.Command) (Result, error) {
	return im.Apply(KindV2, c.Append(nil))
}

// dueMax is the number of deadlines that Expire reads at a time.
const dueMax = 1024

// Expire expires the nodes of v2 whose deadline has passed, the earliest first.
func (im *Importer) Expire() error {
	for {
		due, err := v2tree.Due(im.m.w.Reading(), 0, im.m.next.time, dueMax)
		if err != nil || len(due) == 0 {
			return err
		}
		for i := range due {
			if _, err := im.ApplyV2(&due[i]); err != nil {
				return err
			}
		}
	}
}
