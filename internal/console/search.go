package console

import (
	"bytes"
	"errors"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

const searchDefault = 100

// Where a search looks for the text.
const (
	inKey   = "key"
	inValue = "value"
	inBoth  = "both"
)

type searchRequest struct {
	Text       []byte `json:"text"`
	Prefix     []byte `json:"prefix"`
	In         string `json:"in"`
	IgnoreCase bool   `json:"ignore_case"`
	Limit      int    `json:"limit"`
	From       []byte `json:"from"`
	Revision   int64  `json:"revision"`
	Preview    int    `json:"preview"`
}

type searchResponse struct {
	listing
	Scanned int64 `json:"scanned"`
}

// search returns the keys with a text in the key or in the value. It looks at keys for a limited
// time, and returns where to continue.
func (c *call) search() (any, error) {
	in := searchRequest{Limit: searchDefault, In: inKey}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch {
	case len(in.Text) == 0:
		return nil, invalidf("text is empty: want the bytes to search for")
	case in.In != inKey && in.In != inValue && in.In != inBoth:
		return nil, invalidf("in %q: want key, value or both", in.In)
	}
	if err := checkPage(in.Limit, in.Preview); err != nil {
		return nil, err
	}
	var out *searchResponse
	err := c.scanAt(in.Revision, func(subject *auth.Subject, reading mvcc.Reading) (err error) {
		out, err = c.newSearch(reading, &in).run(subject)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// finder collects the keys that a search finds.
type finder struct {
	in      *searchRequest
	reading mvcc.Reading
	leases  leaseTimes
	clock   *clock
	match   func([]byte) bool
	at      []byte // the first key that has not been looked at
	full    bool
	out     searchResponse
}

func (c *call) newSearch(reading mvcc.Reading, in *searchRequest) *finder {
	f := &finder{in: in, clock: c.newClock(), match: matcher(in.Text, in.IgnoreCase), at: in.Prefix}
	if bytes.Compare(in.From, f.at) > 0 {
		f.at = in.From
	}
	f.reading = reading.Limited(f.clock)
	f.leases = leaseTimes{reading: reading, now: c.member.ClusterTime(), left: map[kv.LeaseID]int64{}}
	f.out = searchResponse{listing: newListing(reading)}
	return f
}

func (f *finder) run(subject *auth.Subject) (*searchResponse, error) {
	end := endOf(f.in.Prefix)
	for from, to := range subject.Readable() {
		from, to := clip(from, to, f.at, end)
		if f.full || to != nil && bytes.Compare(from, to) >= 0 {
			continue
		}
		err := f.reading.Walk(from, to, f.visit)
		if errors.Is(err, errPageTime) {
			f.full, f.at = true, f.clock.at
		} else if err != nil {
			return nil, err
		}
	}
	if f.full {
		f.out.Next = f.at
	}
	return &f.out, nil
}

func (f *finder) visit(key []byte, rec *kv.Record) (seek []byte, more bool) {
	f.out.Scanned++
	f.at = append(append(f.at[:0:0], key...), 0)
	if f.in.In != inValue && f.match(key) || f.in.In != inKey && f.match(rec.Value) {
		i := newItem(bytes.Clone(key), rec, f.in.Preview)
		i.TTL, i.TTLOf = f.leases.ttl(rec)
		f.full = f.out.add(i, f.in.Limit)
	}
	return nil, !f.full
}

// matcher returns a function that reports whether bytes contain a text; fold ignores the case of
// ASCII letters.
func matcher(text []byte, fold bool) func([]byte) bool {
	if !fold {
		return func(b []byte) bool { return bytes.Contains(b, text) }
	}
	lower := lowerASCII(nil, text)
	var room []byte
	return func(b []byte) bool {
		room = lowerASCII(room[:0], b)
		return bytes.Contains(room, lower)
	}
}

func lowerASCII(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
