package sim

import (
	"bytes"

	"cairn/check"
	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

// chunkRecords is how many records a chunk of a streamed range has: few, so that ranges of few keys
// have several.
const chunkRecords = 2

// chunkPause is the longest time between two chunks. The state may be replaced meanwhile.
const chunkPause = 400 * millisecond

// chunkSink collects the records of one chunk, as package v3rpc's does: it peeks at the next
// record, and leaves it to the next chunk.
type chunkSink struct {
	mvcc.Collector
	hasNext bool
}

// Reset implements mvcc.Sink.
func (s *chunkSink) Reset() {
	s.Collector.Reset()
	s.hasNext = false
}

// Add implements mvcc.Sink.
func (s *chunkSink) Add(key []byte, r *kv.Record) bool {
	if len(s.Keys) == chunkRecords {
		s.hasNext = true
		return false
	}
	return s.Collector.Add(key, r)
}

// readChunks serves a range in chunks, between which time passes, like KV.RangeStream. After an
// error the client ignores the chunks that it has received.
func (m *member) readChunks(r *check.Request, done func(check.Response)) {
	chunks := mvcc.NewChunks(rangeOp(r.Range))
	var found []check.KV
	var next func(first bool)
	next = func(first bool) {
		s := m.machine.Auth().State()
		who := s.Subject(&auth.Actor{Name: r.User})
		switch {
		case s.Enabled && r.User == "":
			done(check.Response{Err: check.ErrRefused})
			return
		case who == nil || machine.PermitRange(who, keyRange(r.Range.Key, r.Range.End)) != nil:
			done(check.Response{Err: check.ErrDenied})
			return
		}
		var c chunkSink
		c.KeysOnly = r.Range.KeysOnly
		sum, err := m.machine.Keys().Range(chunks.Rest(), &c)
		switch {
		case err != nil && first:
			done(check.Response{Err: errorOf(err)})
			return
		case err != nil:
			done(check.Response{Err: check.ErrRefused})
			return
		case !c.hasNext:
			m.lastChunk(kvsOf(c.Keys), func(records []check.KV) {
				all := chunks.Total(sum)
				done(check.Response{Revision: all.Revision, Range: &check.RangeResponse{KVs: append(found, records...), More: all.More, Count: all.Count}})
			})
			return
		}
		found = append(found, kvsOf(c.Keys)...)
		chunks.Pass(bytes.Clone(c.Keys[len(c.Keys)-1].Key), int64(len(c.Keys)), sum)
		m.later(m.w.between(0, chunkPause), func() { next(false) })
	}
	next(true)
}

// lastChunk sends the last chunk. With a planted bug its header is read later, by a second range
// with the same sink, which a snapshot that was installed meanwhile resets.
func (m *member) lastChunk(records []check.KV, send func([]check.KV)) {
	if m.w.bug != bugEmptyChunk {
		send(records)
		return
	}
	installed := m.snapshots
	m.later(m.w.between(0, second), func() {
		if m.snapshots != installed {
			records = nil
		}
		send(records)
	})
}
