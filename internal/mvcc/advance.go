package mvcc

import "cairn/internal/kv"

// AdvanceEvent returns the key and the event of table r with which a state begins whose revision
// was moved by nothing that happened in it: the same as Writer.Advance makes.
func AdvanceEvent(revision int64) (key, value []byte) {
	e := event{Event: kv.Event{
		Type: kv.EventPut, Action: kv.ActionRefresh, Dir: true, Key: []byte("/"), Record: kv.Record{Mod: kv.Revision{Main: revision}},
	}}
	return eventKey(nil, e.Record.Mod), appendEvent(nil, &e)
}
