package migration

import (
	"encoding/json"
	"fmt"

	"cairn/internal/kv"
)

// The gRPC service through which a program sends commands to the new cluster. All messages are
// google.protobuf.BytesValue.
const (
	ServiceName = "cairn.Migration"
	// MethodStatus returns a Status as JSON; its request is empty.
	MethodStatus = "Status"
	// MethodApply is a stream in both directions. The pieces of a command are sent in order, each
	// after a byte that is PieceLast for the last one; the response to the last one is a Status.
	MethodApply = "Apply"
)

// The first byte of a piece of a command.
const (
	PieceMore = 0
	PieceLast = 1
)

// CommandBytesMax limits a command, which has all changes of a revision.
const CommandBytesMax = 64 << 20

// Status is the position of a migration, as programs display it.
type Status struct {
	Phase     Phase  `json:"-"`
	PhaseName string `json:"phase"`
	Source    string `json:"source,omitempty"` // in hexadecimal
	Endpoints string `json:"endpoints,omitempty"`
	Base      int64  `json:"base,omitempty"`
	// Revision and CompactRevision are the store's.
	Revision        int64 `json:"revision"`
	CompactRevision int64 `json:"compactRevision"`
	Keys            int64 `json:"keys"`
	LoadedMain      int64 `json:"loadedMain,omitempty"`
	LoadedSub       int64 `json:"loadedSub,omitempty"`
	// Seen is the newest revision of the source that the following program has reported, and Idle
	// the number of seconds since its last report.
	Seen int64   `json:"seen,omitempty"`
	Idle float64 `json:"idleSeconds"`
}

// Loaded returns the last change of the base that is in the store.
func (s *Status) Loaded() kv.Revision { return kv.Revision{Main: s.LoadedMain, Sub: s.LoadedSub} }

// SourceID returns the source's cluster ID in the form of a Status.
func SourceID(id uint64) string { return fmt.Sprintf("%x", id) }

// Encode returns the status as JSON.
func (s *Status) Encode() ([]byte, error) {
	s.PhaseName = s.Phase.String()
	return json.Marshal(s)
}

// DecodeStatus is the inverse of Encode.
func DecodeStatus(b []byte) (s Status, err error) {
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("status of the migration: %w", err)
	}
	for s.Phase = None; s.Phase <= Finished; s.Phase++ {
		if s.Phase.String() == s.PhaseName {
			return s, nil
		}
	}
	return s, fmt.Errorf("status of the migration: unknown phase %q", s.PhaseName)
}
