package storage

import "github.com/cockroachdb/pebble/v2"

// tableSpans keeps table r in sstables of its own. Its keys only ascend, so its files overlap no
// other ones, and a compaction of the other tables, whose keys are overwritten, leaves them out. In
// common files, every such compaction would write the history again.
func tableSpans(key []byte) (pebble.SpanPolicy, []byte, error) {
	switch {
	case key[0] < byte(TableRevisions):
		return pebble.SpanPolicy{}, []byte{byte(TableRevisions)}, nil
	case key[0] == byte(TableRevisions):
		return pebble.SpanPolicy{}, []byte{byte(TableRevisions) + 1}, nil
	default:
		return pebble.SpanPolicy{}, nil, nil
	}
}
