package console

import (
	"bytes"
	"context"
	"errors"
	"time"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

const (
	pageDefault   = 200
	pageMax       = 1000
	previewMax    = 256
	separatorMax  = 64
	uncounted     = -1 // the count of an item that would take too long
	noTTL         = -1
	defaultBranch = "/"
)

// item is a key, or all keys with a prefix, in a page of the tree or of a search.
type item struct {
	Kind string      `json:"kind"` // key, prefix or dir
	Key  base64Bytes `json:"key"`
	Name base64Bytes `json:"name,omitempty"`

	// of a prefix: the keys with it that the caller may read
	Count *int64 `json:"count,omitempty"`

	// of a key
	Size           *int        `json:"size,omitempty"`
	Version        int64       `json:"version,omitempty"`
	CreateRevision int64       `json:"create_revision,omitempty"`
	ModRevision    int64       `json:"mod_revision,omitempty"`
	Lease          kv.LeaseID  `json:"lease,omitempty,string"`
	TTL            int64       `json:"ttl"` // seconds
	TTLOf          string      `json:"ttl_of,omitempty"`
	Preview        base64Bytes `json:"preview,omitempty"`
}

const (
	kindKey       = "key"
	kindPrefix    = "prefix"
	kindDirectory = "dir"
)

type treeRequest struct {
	Prefix    []byte  `json:"prefix"`
	Separator *[]byte `json:"separator"`
	From      []byte  `json:"from"`
	At        []byte  `json:"at"`   // a key behind from: the page starts at the child that has it
	Skip      int64   `json:"skip"` // keys: the page starts at the child with the key behind them
	Limit     int     `json:"limit"`
	Revision  int64   `json:"revision"`
	Preview   int     `json:"preview"`
}

type treeResponse struct {
	listing
	CompactRevision int64 `json:"compact_revision"`
	Count           int64 `json:"count"`   // keys with the prefix, or uncounted; in a page without from
	Skipped         int64 `json:"skipped"` // keys between from and the first child, or uncounted
}

// tree returns a page of the children of a prefix: its keys without a further separator, and the
// prefixes up to the next separator with the number of keys below them.
func (c *call) tree() (any, error) {
	in := treeRequest{Limit: pageDefault}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	separator := []byte(defaultBranch)
	if in.Separator != nil {
		separator = *in.Separator
	}
	switch {
	case len(separator) > separatorMax:
		return nil, invalidf("separator of %d bytes: want at most %d", len(separator), separatorMax)
	case len(in.From) > 0 && !bytes.HasPrefix(in.From, in.Prefix):
		return nil, invalidf("from %q: want a key that begins with the prefix", in.From)
	case len(in.At) > 0 && (!bytes.HasPrefix(in.At, in.Prefix) || bytes.Compare(in.At, in.From) < 0):
		return nil, invalidf("at %q: want a key that begins with the prefix and is not before from", in.At)
	case in.Skip < 0 || in.Skip > 0 && len(in.At) > 0:
		return nil, invalidf("skip %d: want 0 or more, and 0 beside at", in.Skip)
	}
	if err := checkPage(in.Limit, in.Preview); err != nil {
		return nil, err
	}
	var out *treeResponse
	err := c.scanAt(in.Revision, func(subject *auth.Subject, reading mvcc.Reading) (err error) {
		out, err = c.newPage(reading, subject, &in, separator).fill()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// page collects the children of a prefix.
type page struct {
	in        *treeRequest
	separator []byte
	reading   mvcc.Reading
	subject   *auth.Subject
	now       kv.ClusterTime
	leases    leaseTimes
	end       []byte // of the prefix; nil for no end
	dirs      bool   // include v2's directories
	clock     *clock
	counting  *allowance
	out       treeResponse
	at        []byte // the first key that is not in the page yet
	full      bool
	done      bool // nothing can follow
	failed    error
}

func (c *call) newPage(reading mvcc.Reading, subject *auth.Subject, in *treeRequest, separator []byte) *page {
	p := &page{in: in, separator: separator, subject: subject, now: c.member.ClusterTime(), clock: c.newClock(), counting: &allowance{left: countPausesMax}}
	p.reading, p.end = reading.Limited(p.clock), endOf(in.Prefix)
	p.leases = leaseTimes{reading: reading, now: p.now, left: map[kv.LeaseID]int64{}}
	p.dirs = c.opts.V2 && string(separator) == defaultBranch && (len(in.Prefix) == 0 || in.Prefix[0] == '/' && bytes.HasSuffix(in.Prefix, separator))
	p.at = in.Prefix
	if bytes.Compare(in.From, p.at) > 0 {
		p.at = in.From
	}
	p.out = treeResponse{listing: newListing(reading), CompactRevision: c.member.Keys().Head().CompactRevision, Count: uncounted}
	return p
}

// fill collects the page.
func (p *page) fill() (*treeResponse, error) {
	if len(p.in.From) == 0 {
		n, err := p.count(p.in.Prefix, p.end)
		if err != nil {
			return nil, err
		}
		p.out.Count = n
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	for from, to := range p.subject.Readable() {
		from, to := clip(from, to, p.at, p.end)
		if p.ended() || to != nil && bytes.Compare(from, to) >= 0 {
			continue
		}
		err := errors.Join(p.reading.Walk(from, to, p.visit), p.failed)
		if errors.Is(err, errPageTime) {
			p.full, p.at = true, p.clock.at
		} else if err != nil {
			return nil, err
		}
	}
	if err := p.addDirectories(p.end); err != nil {
		return nil, err
	}
	if p.full && (p.end == nil || bytes.Compare(p.at, p.end) < 0) {
		p.out.Next = p.at
	}
	return &p.out, nil
}

func (p *page) ended() bool { return p.full || p.done }

// visit adds the child that a key belongs to, and returns the end of that.
func (p *page) visit(key []byte, rec *kv.Record) (seek []byte, more bool) {
	name, _, isPrefix := bytes.Cut(key[len(p.in.Prefix):], p.separator)
	if len(p.separator) == 0 {
		name, isPrefix = key[len(p.in.Prefix):], false
	}
	child := bytes.Clone(key[:len(p.in.Prefix)+len(name)])
	if isPrefix {
		child = append(child, p.separator...)
	}
	if p.failed = p.addDirectories(child); p.failed != nil || p.ended() {
		return nil, false
	}
	if bytes.Compare(p.at, child) > 0 {
		return p.at, true // a directory of v2 that has been added with all its keys
	}
	if !isPrefix {
		p.add(p.keyItem(child, rec))
		return nil, !p.full
	}
	p.failed = p.addPrefix(child, v2tree.Directory{})
	return p.at, p.failed == nil && !p.ended()
}

// add adds an item, and ends the page if it is full.
func (p *page) add(i item) {
	full := p.out.add(i, p.in.Limit)
	p.at = append(bytes.Clone(i.Key), 0)
	if i.Kind != kindKey {
		p.at = endOf(i.Key)
	}
	p.done = p.at == nil // the prefix has nothing but 0xff bytes
	p.full = !p.done && (full || p.clock.passed())
}

// addPrefix adds a prefix with the number of its keys, as the directory of v2 that it may be.
func (p *page) addPrefix(child []byte, dir v2tree.Directory) error {
	n, err := p.count(child, endOf(child))
	if err != nil {
		return err
	}
	i := item{Kind: kindPrefix, Key: child, Name: child[len(p.in.Prefix):], Count: &n, TTL: noTTL}
	if dir.Created != 0 {
		i.Kind, i.CreateRevision, i.ModRevision = kindDirectory, dir.Created, dir.Created
		if dir.Deadline != 0 {
			i.TTL, i.TTLOf = secondsLeft(dir.Deadline, p.now), ttlOfV2
		}
	}
	p.add(i)
	return nil
}

// addDirectories adds v2's directories up to the child, and the child itself if it is one.
func (p *page) addDirectories(upTo []byte) error {
	if !p.dirs || p.ended() {
		return nil
	}
	if len(p.in.Prefix) == 0 {
		return p.addRoot(upTo)
	}
	var found error
	err := v2tree.Directories(p.reading, p.in.Prefix, p.at, func(d v2tree.Directory) bool {
		switch {
		case upTo != nil && bytes.Compare(d.Prefix, upTo) > 0:
			return false
		case !p.mayRead(d.Prefix):
			return true
		}
		found = p.addPrefix(bytes.Clone(d.Prefix), d)
		return found == nil && !p.ended()
	})
	return errors.Join(err, found)
}

// addRoot adds v2's root directory if v2 has made a directory: there may be no key that begins with
// a slash.
func (p *page) addRoot(upTo []byte) error {
	root := []byte(defaultBranch)
	if bytes.Compare(p.at, root) > 0 || upTo != nil && bytes.Compare(root, upTo) > 0 || !p.mayRead(root) {
		return nil
	}
	found := false
	err := v2tree.Directories(p.reading, root, nil, func(v2tree.Directory) bool {
		found = true
		return false
	})
	if err != nil || !found {
		return err
	}
	return p.addPrefix(root, v2tree.Directory{})
}

// mayRead reports whether the caller may read all keys with a prefix.
func (p *page) mayRead(prefix []byte) bool { return p.subject.CanRead(auth.Prefix(prefix)) }

func (p *page) keyItem(key []byte, rec *kv.Record) item {
	i := newItem(key, rec, p.in.Preview)
	i.Name = key[len(p.in.Prefix):]
	i.TTL, i.TTLOf = p.leases.ttl(rec)
	return i
}

// newItem returns the item of a key, without its TTL, with the first bytes of its value.
func newItem(key []byte, rec *kv.Record, preview int) item {
	size := len(rec.Value)
	return item{
		Kind: kindKey, Key: key, Size: &size, Version: rec.Version, CreateRevision: rec.CreateRevision, ModRevision: rec.Mod.Main,
		Lease: rec.Lease, Preview: bytes.Clone(rec.Value[:min(size, preview)]),
	}
}

// count returns the number of keys in [from, to) that the caller may read, or uncounted if it would
// take too long.
func (p *page) count(from, to []byte) (n int64, err error) {
	reading := p.reading.Limited(p.counting)
	for readFrom, readTo := range p.subject.Readable() {
		start, end := clip(readFrom, readTo, from, to)
		if end != nil && bytes.Compare(start, end) >= 0 {
			continue
		}
		part, err := reading.Count(start, end)
		if errors.Is(err, errTooMuch) {
			return uncounted, nil
		}
		if err != nil {
			return 0, err
		}
		n += part
	}
	return n, nil
}

// clip returns the intersection of [from, to) and [lower, upper); nil as an end means no end.
func clip(from, to, lower, upper []byte) (start, end []byte) {
	if bytes.Compare(from, lower) < 0 {
		from = lower
	}
	if to == nil || upper != nil && bytes.Compare(upper, to) < 0 {
		to = upper
	}
	return from, to
}

// endOf returns the first key after all that begin with a prefix; nil means that there is no end.
func endOf(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

var (
	errPageTime = errors.New("the page is ready")
	errTooMuch  = errors.New("too much to count")
)

// clock ends a read after pageTimeMax, and remembers where, so that the next page continues there.
// It also ends the read when the client has disconnected. It implements mvcc.PauserAt.
type clock struct {
	ctx   context.Context
	start time.Time
	at    []byte
}

func (c *call) newClock() *clock { return &clock{ctx: c.r.Context(), start: time.Now()} }

func (k *clock) passed() bool { return time.Since(k.start) > pageTimeMax }

// Pause implements mvcc.Pauser.
func (k *clock) Pause() error { return k.ctx.Err() }

// PauseAt implements mvcc.PauserAt.
func (k *clock) PauseAt(key []byte) error {
	if k.passed() {
		k.at = bytes.Clone(key)
		return errPageTime
	}
	return k.ctx.Err()
}

// countPausesMax is the work that the counts of a page may take: each pause follows some 256
// records.
const countPausesMax = 1000

// allowance ends counts that take too long. It implements mvcc.Pauser.
type allowance struct{ left int }

// Pause implements mvcc.Pauser.
func (a *allowance) Pause() error {
	if a.left--; a.left < 0 {
		return errTooMuch
	}
	return nil
}
