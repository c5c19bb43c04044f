package console

import (
	"errors"

	"cairn/internal/auth"
	"cairn/internal/mvcc"
)

// listing is what the pages of the tree and of a search have in common.
type listing struct {
	Revision int64       `json:"revision"`
	Items    []item      `json:"items"`
	Next     base64Bytes `json:"next"` // the key at which the next page starts

	size int64
}

func newListing(reading mvcc.Reading) listing {
	return listing{Revision: reading.Revision(), Items: []item{}}
}

func (l *listing) bytes() int64 { return l.size }

// itemBytes is what an item takes in JSON besides its key.
const itemBytes = 200

// add adds an item, and reports whether the listing is full.
func (l *listing) add(i item, limit int) (full bool) {
	l.Items = append(l.Items, i)
	l.size += int64(len(i.Key)+len(i.Preview)) + itemBytes
	return len(l.Items) == limit || l.size > pageBytesMax
}

// checkPage checks the fields of a request that limit its listing.
func checkPage(limit, preview int) error {
	switch {
	case limit < 1 || limit > pageMax:
		return invalidf("limit %d: want 1 to %d", limit, pageMax)
	case preview < 0 || preview > previewMax:
		return invalidf("preview %d: want 0 to %d", preview, previewMax)
	}
	return nil
}

// scanAt runs a read that may take long, as of a revision, with the caller's permissions.
func (c *call) scanAt(revision int64, read func(*auth.Subject, mvcc.Reading) error) error {
	return c.scan(func(caller *auth.Caller) error {
		return c.retry(revision, func(reading mvcc.Reading) error { return read(caller.Subject, reading) })
	})
}

// retry runs a read as of a revision, again when a compaction has overtaken the current one.
func (c *call) retry(revision int64, read func(mvcc.Reading) error) error {
	for {
		reading, err := c.member.Keys().ReadingAt(revision)
		if err != nil {
			return err
		}
		err = read(reading)
		if !errors.Is(err, mvcc.ErrOvertaken) {
			return err
		}
		if revision > 0 {
			return mvcc.ErrCompacted
		}
		if err := reading.AwaitNewer(); err != nil {
			return err
		}
	}
}
