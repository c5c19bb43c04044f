package mvcc

import "cairn/internal/kv"

// NoteDirectoryChange records a change of a v2 directory, at the next revision
// of the open command, and returns that revision. Of now, what the directory
// became, the writer sets Mod and Deleted; prev is what stood at the path before,
// with a zero Mod when nothing did. Only the v2 dialect sees the event; the
// directory itself is kept by the caller.
func (w *Writer) NoteDirectoryChange(t kv.EventType, action kv.Action, path []byte, now, prev kv.Record) kv.Revision {
	now.Mod, now.Deleted = w.nextRevision(), t == kv.EventDelete
	w.events = append(w.events, event{Event: kv.Event{
		Type: t, Action: action, Dir: true, Key: path, Record: now, Prev: prev,
	}})
	return now.Mod
}
