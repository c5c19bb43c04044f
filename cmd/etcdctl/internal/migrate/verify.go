package migrate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Limits of a page of compared keys: the number of keys is adjusted so that a page has about
// pageBytes.
const (
	pageBytes   = 2 << 20
	pageKeysMin = 1
	pageKeysMax = 8192
)

// Verified is the result of a successful comparison.
type Verified struct {
	Revision, Keys int64
	Sum            []byte // SHA-256 of the keys
}

// verify compares all keys of both clusters as of a revision.
func (m *Migration) verify(ctx context.Context, revision int64) (v Verified, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	source, target := newKeyStream(ctx, m.o.Source, revision), newKeyStream(ctx, m.target.client, revision)
	sum := sha256.New()
	v.Revision = revision
	for {
		a, err := source.next()
		if err != nil {
			return v, fmt.Errorf("old cluster: read keys as of revision %d: %w", revision, err)
		}
		b, err := target.next()
		if err != nil {
			return v, fmt.Errorf("new cluster: read keys as of revision %d: %w", revision, err)
		}
		if a == nil && b == nil {
			v.Sum = sum.Sum(nil)
			return v, nil
		}
		if !sameKey(a, b) {
			return v, &permanentError{fmt.Errorf("the clusters differ as of revision %d: old %s, new %s", revision, describe(a), describe(b))}
		}
		v.Keys++
		hashKey(sum, a)
	}
}

func sameKey(a, b *mvccpb.KeyValue) bool {
	return a != nil && b != nil && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.CreateRevision == b.CreateRevision &&
		a.ModRevision == b.ModRevision && a.Version == b.Version && a.Lease == b.Lease
}

// describe names a key for an error, without its value.
func describe(k *mvccpb.KeyValue) string {
	if k == nil {
		return "has no further key"
	}
	return fmt.Sprintf("%q (create revision %d, mod revision %d, version %d, lease %x, %d bytes)",
		k.Key, k.CreateRevision, k.ModRevision, k.Version, k.Lease, len(k.Value))
}

func hashKey(sum hash.Hash, k *mvccpb.KeyValue) {
	var numbers [48]byte
	for i, n := range [...]int64{k.CreateRevision, k.ModRevision, k.Version, k.Lease, int64(len(k.Key)), int64(len(k.Value))} {
		binary.BigEndian.PutUint64(numbers[8*i:], uint64(n))
	}
	sum.Write(numbers[:])
	sum.Write(k.Key)
	sum.Write(k.Value)
}

// keyStream reads the keys of a cluster in order, a page ahead of the caller.
type keyStream struct {
	pages chan page
	kvs   []*mvccpb.KeyValue
	done  bool
}

type page struct {
	kvs []*mvccpb.KeyValue
	err error
}

func newKeyStream(ctx context.Context, c *clientv3.Client, revision int64) *keyStream {
	s := &keyStream{pages: make(chan page, 1)}
	go func() {
		defer close(s.pages)
		from, limit := "\x00", int64(256)
		for {
			r, err := c.Get(ctx, from, clientv3.WithFromKey(), clientv3.WithRev(revision), clientv3.WithLimit(limit))
			p := page{err: err}
			if err == nil {
				p.kvs = r.Kvs
			}
			select {
			case s.pages <- p:
			case <-ctx.Done():
				return
			}
			if err != nil || !r.More || len(r.Kvs) == 0 {
				return
			}
			from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
			limit = pageLimit(r.Kvs)
		}
	}()
	return s
}

// pageLimit returns the number of keys of this size that make a page.
func pageLimit(kvs []*mvccpb.KeyValue) int64 {
	size := 1
	for _, k := range kvs {
		size += len(k.Key) + len(k.Value) + 40
	}
	return int64(min(max(pageBytes*len(kvs)/size, pageKeysMin), pageKeysMax))
}

// next returns the next key, or nil at the end.
func (s *keyStream) next() (*mvccpb.KeyValue, error) {
	for len(s.kvs) == 0 {
		if s.done {
			return nil, nil
		}
		p, ok := <-s.pages
		if s.done = !ok || p.err != nil; p.err != nil {
			return nil, p.err
		}
		s.kvs = p.kvs
	}
	k := s.kvs[0]
	s.kvs = s.kvs[1:]
	return k, nil
}

// compacted reports whether an error means that a revision is compacted.
func compacted(err error) bool { return errors.Is(err, rpctypes.ErrCompacted) }
