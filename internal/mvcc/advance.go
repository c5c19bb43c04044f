package mvcc

import "cairn/internal/kv"

// AdvanceEvent returns the key and the event of table r for a state that begins at a revision at
// which no key changed: the event that Writer.Advance makes.
func AdvanceEvent(revision int64) (key, value []byte) {
	e := event{Event: kv.Event{
		Type: kv.EventPut, Action: kv.ActionRefresh, Dir: true, Key: []byte("/"), Record: kv.Record{Mod: kv.Revision{Main: revision}},
	}}
	return eventKey(nil, e.Record.Mod), appendEvent(nil, &e)
}
