package console

import (
	"bytes"
	"errors"
)

// start moves the page's start to the child that has the key at, or that has the key behind skip
// others, and counts the keys before that child.
func (p *page) start() error {
	key := p.in.At
	if p.in.Skip > 0 {
		var err error
		if key, err = p.nth(p.in.Skip); err != nil {
			return err
		}
		if key == nil { // there are fewer keys
			p.done = true
			p.out.Skipped, err = p.count(p.at, p.end)
			return err
		}
	}
	first := p.childOf(key)
	if bytes.Compare(first, p.at) <= 0 {
		return nil
	}
	var err error
	p.out.Skipped, err = p.count(p.at, first)
	p.at = first
	return err
}

// childOf returns the key of the child that has a key: up to the separator that follows the prefix.
func (p *page) childOf(key []byte) []byte {
	if len(key) == 0 || len(p.separator) == 0 {
		return key
	}
	if i := bytes.Index(key[len(p.in.Prefix):], p.separator); i >= 0 {
		return key[:len(p.in.Prefix)+i+len(p.separator)]
	}
	return key
}

// nth returns the key behind n others from the page's start on, of those that the caller may read;
// nil if there is none. In the past it may be some keys off, see mvcc.Reading.Nth, and where the
// past takes too long to count it is the start of a range that the caller may read.
func (p *page) nth(n int64) ([]byte, error) {
	reading := p.reading.Limited(p.counting)
	for from, to := range p.subject.Readable() {
		from, to := clip(from, to, p.at, p.end)
		if to != nil && bytes.Compare(from, to) >= 0 {
			continue
		}
		key, err := reading.Nth(from, to, n)
		var keys int64
		if key == nil && err == nil {
			keys, err = reading.Count(from, to)
		}
		switch {
		case errors.Is(err, errTooMuch):
			return from, nil
		case key != nil || err != nil:
			return key, err
		}
		n = max(0, n-keys)
	}
	return nil, nil
}
