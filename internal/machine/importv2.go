package machine

import (
	"cairn/internal/kv"
	"cairn/internal/v2tree"
)

// Directory takes a directory of v2. All changes must have been taken before.
func (im *Importer) Directory(path []byte, created int64, deadline kv.ClusterTime) error {
	if err := im.ready(); err != nil {
		return err
	}
	v2tree.RestoreDirectory(im.m.b, path, created, im.m.w.Revision(), deadline)
	return nil
}

// Deadline takes the deadline of a key of v2. All changes must have been taken before.
func (im *Importer) Deadline(path []byte, deadline kv.ClusterTime) error {
	if err := im.ready(); err != nil {
		return err
	}
	v2tree.RestoreDeadline(im.m.b, path, deadline)
	return nil
}

// SetTime moves cluster time forward. The new cluster goes on from there.
func (im *Importer) SetTime(t kv.ClusterTime) { im.m.next.time = max(im.m.next.time, t) }

// Time returns cluster time.
func (im *Importer) Time() kv.ClusterTime { return im.m.next.time }

// Revision returns the revision after the last command, after BeginCommands.
func (im *Importer) Revision() int64 { return im.m.w.Revision() }

// Advance moves the revision by one where the other store changed something that ours does not
// have.
func (im *Importer) Advance() error {
	im.m.w.Start()
	im.m.w.Advance()
	return im.m.w.End()
}

// ApplyV2 applies a command of v2. The result has the error of a command that was refused.
func (im *Importer) ApplyV2(c *v2tree.Command) (Result, error) {
	return im.Apply(KindV2, c.Append(nil))
}

// dueMax is how many deadlines Expire looks at together.
const dueMax = 1024

// Expire ends the nodes of v2 whose deadline is over, the earliest first.
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
