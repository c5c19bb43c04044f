package mvcc

import "bytes"

// Chunks is how far a range has been read that is read in chunks, all of them as of one revision.
// Nothing of the store is held between two chunks, so that the state may be replaced by a snapshot
// meanwhile.
type Chunks struct {
	rest     RangeOp
	sent     int64 // records in the chunks before
	revision int64 // of the first chunk; 0 before it
}

// NewChunks returns the chunks of a range, of which none has been read.
func NewChunks(op *RangeOp) *Chunks { return &Chunks{rest: *op} }

// Rest returns the range that is left to be read. It must not be changed.
func (c *Chunks) Rest() *RangeOp { return &c.rest }

// Pass continues after a chunk of at least one record, which has a successor. last is the key of
// the chunk's last record, and sum the result of the read of the chunk.
func (c *Chunks) Pass(last []byte, records int64, sum RangeSummary) {
	c.begin(sum)
	c.sent += records
	c.rest.Key = append(bytes.Clone(last), 0)
	if c.rest.Limit > 0 {
		// stays above 0: the record left to the next chunk is within the limit
		c.rest.Limit -= records
	}
	if c.rest.Revision <= 0 {
		c.rest.Revision = c.revision
	}
}

// Total returns the summary of the whole range, from that of the last chunk: the count and more of
// the rest were read together with its records.
func (c *Chunks) Total(sum RangeSummary) RangeSummary {
	c.begin(sum)
	return RangeSummary{Revision: c.revision, More: sum.More, Count: c.sent + sum.Count}
}

func (c *Chunks) begin(sum RangeSummary) {
	if c.revision == 0 {
		c.revision = sum.Revision
	}
}
