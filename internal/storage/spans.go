package storage

import "github.com/cockroachdb/pebble/v2"

// tableSpans keeps table r in sstables of its own, and its values in blob files, which the sstables
// refer to (ADR 0023). The values of other tables are stored with their keys: a get reads one
// block, and a list reads the values in order.
func tableSpans(key []byte) (pebble.SpanPolicy, []byte, error) {
	inPlace := pebble.SpanPolicy{ValueStoragePolicy: pebble.ValueStorageLowReadLatency}
	switch {
	case key[0] < byte(TableRevisions):
		return inPlace, []byte{byte(TableRevisions)}, nil
	case key[0] == byte(TableRevisions):
		return pebble.SpanPolicy{}, []byte{byte(TableRevisions) + 1}, nil
	default:
		return inPlace, nil, nil
	}
}

// separateHistory stores the values of table r in blob files. Nothing overwrites them, and a
// compaction of the history drops whole files; but pebble's compactions of the other tables include
// the sstables of r between them. So those write 30 bytes for each event instead of its values.
func separateHistory() pebble.ValueSeparationPolicy {
	return pebble.ValueSeparationPolicy{
		Enabled: true,
		// Smaller events are hardly longer than a reference and its key.
		MinimumSize: 128,
		// Ascending keys are in ascending blob files, so references never lose their order, and no
		// blob file has garbage but the one at the compact revision: values are never written
		// again.
		MaxBlobReferenceDepth: 1 << 20,
		TargetGarbageRatio:    1,
	}
}
