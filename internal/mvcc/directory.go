package mvcc

import "cairn/internal/kv"

// directoryEventBytes is the size of a directory's event without its path.
const directoryEventBytes = 64

// ChangeDirectory records a change of a v2 directory, at the next revision of the open command. The
// writer sets Mod and Deleted of now, the directory's new record; prev is the previous record of
// the node at path, with a zero Mod when there was none. Only the v2 dialect sees the event; the
// caller stores the directory itself. The error is ErrTooLarge; see AddBytes.
func (w *Writer) ChangeDirectory(t kv.EventType, action kv.Action, path []byte, now, prev kv.Record) error {
	if err := w.AddBytes(len(path) + directoryEventBytes); err != nil {
		return err
	}
	w.addDirectoryEvent(t, action, path, now, prev)
	return nil
}

// AddBytes counts bytes that the open command changes outside of the keys. It returns ErrTooLarge
// when the total exceeds commandBytesMax.
func (w *Writer) AddBytes(n int) error {
	if w.commandBytes += int64(n); w.commandBytes > commandBytesMax {
		return ErrTooLarge
	}
	return nil
}

func (w *Writer) addDirectoryEvent(t kv.EventType, action kv.Action, path []byte, now, prev kv.Record) {
	now.Mod, now.Deleted = w.nextRevision(), t == kv.EventDelete
	w.events = append(w.events, event{Event: kv.Event{
		Type: t, Action: action, Dir: true, Key: path, Record: now, Prev: prev,
	}})
}
