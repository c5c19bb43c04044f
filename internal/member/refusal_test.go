package member

import (
	"context"
	"errors"
	"testing"

	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

func TestTooLarge(t *testing.T) {
	cfg := testConfig(newDisk(t))
	cfg.RequestBytesMax = 100
	m := start(t, cfg)
	defer closeMember(t, m)
	ctx := context.Background()
	if _, err := m.Propose(ctx, machine.KindPut, make([]byte, 101)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("101 bytes: %v", err)
	}
	payload := machine.AppendPut(nil, &mvcc.PutOp{Key: []byte("k"), Value: make([]byte, 100-4)})
	if _, err := m.Propose(ctx, machine.KindPut, payload); len(payload) != 100 || err != nil {
		t.Errorf("%d bytes: %v", len(payload), err)
	}
	for size, want := range map[int]error{10 << 20: nil, v2RequestBytesMax: ErrTooLarge} {
		set := v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/k"), Value: make([]byte, size)}
		if _, err := m.Propose(ctx, machine.KindV2, set.Append(nil)); !errors.Is(err, want) {
			t.Errorf("%d bytes of v2: %v, want %v", size, err, want)
		}
	}
}

// TestRefusals: the state machine's refusal is returned as the error.
func TestRefusals(t *testing.T) {
	m := start(t, testConfig(newDisk(t)))
	defer closeMember(t, m)
	ctx := context.Background()
	keep := machine.AppendPut(nil, &mvcc.PutOp{Key: []byte("k"), IgnoreValue: true})
	if _, err := m.Propose(ctx, machine.KindPut, keep); !errors.Is(err, mvcc.ErrKeyNotFound) {
		t.Errorf("put: %v", err)
	}
	if _, err := m.Propose(ctx, machine.KindCompact, machine.AppendCompact(nil, 9)); !errors.Is(err, mvcc.ErrFutureRevision) {
		t.Errorf("compact: %v", err)
	}
	var refused *v2tree.Error
	missing := (&v2tree.Command{Kind: v2tree.KindUpdate, Path: []byte("/k")}).Append(nil)
	if _, err := m.Propose(ctx, machine.KindV2, missing); !errors.As(err, &refused) {
		t.Errorf("v2 update: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := putContext(cancelled, m, "k", "v"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled put: %v", err)
	}
}
