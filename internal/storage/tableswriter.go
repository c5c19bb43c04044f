package storage

import (
	"encoding/binary"
	"errors"
)

const (
	tablesChunkBytes = 256 << 10 // records that are handed to the other goroutine at a time
	tablesChunks     = 4         // chunks that wait for it
)

// tablesWriter writes the records of Tables on a goroutine of its own, so that compressing and
// writing them runs beside the work of the caller that makes them.
type tablesWriter struct {
	chunk  []byte      // lengths of key and value, key, value; not handed over yet
	chunks chan []byte // to the goroutine
	free   chan []byte // back from it
	done   chan error  // closed when the goroutine has ended, after its first error
	failed error       // of the goroutine
}

// WriteInBackground makes Add return before the record is written; Finish and Discard wait for the
// records. It is called before the first record. Stores whose writes must be the same in each run
// do not use it.
func (t *Tables) WriteInBackground() {
	b := &tablesWriter{
		chunks: make(chan []byte, tablesChunks), free: make(chan []byte, tablesChunks), done: make(chan error, 1),
	}
	t.background = b
	go b.run(t.add)
}

// run writes the records of each chunk until the channel is closed.
func (b *tablesWriter) run(write func(key, value []byte) error) {
	defer close(b.done)
	for chunk := range b.chunks {
		for at := 0; at < len(chunk); {
			var key, value []byte
			key, value, at = recordAt(chunk, at)
			if err := write(key, value); err != nil {
				b.done <- err
				return
			}
		}
		select {
		case b.free <- chunk[:0]:
		default:
		}
	}
}

// add takes a record. It returns the first error of the goroutine.
func (b *tablesWriter) add(key, value []byte) error {
	if len(b.chunk) > 0 && len(b.chunk)+len(key)+len(value) > tablesChunkBytes {
		if err := b.handOver(); err != nil {
			return err
		}
	}
	b.chunk = binary.AppendUvarint(b.chunk, uint64(len(key)))
	b.chunk = binary.AppendUvarint(b.chunk, uint64(len(value)))
	b.chunk = append(append(b.chunk, key...), value...)
	return nil
}

// handOver gives the open chunk to the goroutine.
func (b *tablesWriter) handOver() error {
	select {
	case b.chunks <- b.chunk:
	case err := <-b.done:
		b.failed = err
		return err
	}
	select {
	case b.chunk = <-b.free:
	default:
		b.chunk = make([]byte, 0, tablesChunkBytes)
	}
	return nil
}

// stopBackground waits until the records are written and the goroutine has ended.
func (t *Tables) stopBackground() {
	b := t.background
	if b == nil {
		return
	}
	t.background = nil
	err := b.failed
	if t.err == nil && err == nil && len(b.chunk) > 0 {
		err = b.handOver()
	}
	close(b.chunks)
	if err == nil {
		err = <-b.done // nil when the channel is closed without an error
	}
	for range b.done { //nolint:revive // wait for the end of the goroutine
	}
	if t.err == nil {
		t.err = err
	} else if err != nil && !errors.Is(t.err, err) {
		t.err = errors.Join(t.err, err)
	}
}
