package member

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"cairn/internal/machine"
	"cairn/test/heap"
)

// TestHeapOfRequests submits many more requests than may wait: by their bytes, and by their number.
func TestHeapOfRequests(t *testing.T) {
	const bytesMax = 4 << 20
	for _, c := range []struct {
		name           string
		requests, size int
		most           int64
	}{
		{"large", 300, 100_000, bytesMax + 256<<10},
		{"small", 4 * backlogRequestsMax, 16, backlogRequestsMax * 512},
	} {
		before := heap.Live()
		b := newInbox()
		b.backlog.bytesMax = bytesMax
		refused := 0
		for range c.requests {
			_, err := b.submit(context.Background(), machine.KindPut, make([]byte, c.size), 0)
			if errors.Is(err, ErrTooManyRequests) {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		heap.Within(t, c.name, before, c.most)
		if refused < c.requests/2 {
			t.Errorf("%s: %d of %d requests were refused", c.name, refused, c.requests)
		}
		runtime.KeepAlive(b)
	}
}
