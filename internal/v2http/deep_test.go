package v2http

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/v2tree"
)

// Commands that create a megabyte of directories go one by one and pause; others do not wait for
// them.
func TestDeepPathsTakeTurns(t *testing.T) {
	command := func(kind v2tree.Kind, names int) *v2tree.Command {
		return &v2tree.Command{Kind: kind, Path: []byte(strings.Repeat("/d", names))}
	}
	deep := deepBytes(command(v2tree.KindSet, 1000))
	if deep != 1_000_000 {
		t.Fatalf("1000 names of one byte cost %d bytes", deep)
	}
	for _, c := range []*v2tree.Command{command(v2tree.KindDelete, 1000), command(v2tree.KindSet, 100), command(v2tree.KindSet, 1)} {
		if n := deepBytes(c); n != 0 {
			t.Errorf("%d of %d bytes costs %d", c.Kind, len(c.Path), n)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		lane := make(deepLane, 1)
		began := time.Now()
		const commands = 10
		for range commands {
			if err := lane.enter(t.Context(), deep); err != nil {
				t.Fatal(err)
			}
			short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := lane.enter(short, deep); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("two deep paths at a time: %v", err)
			}
			if err := lane.enter(short, 0); err != nil {
				t.Errorf("a short path waited: %v", err)
			}
			lane.leave(0)
			cancel()
			lane.leave(deep)
		}
		least := (commands - 1) * time.Duration(deep) * time.Second / deepRate
		if took := time.Since(began); took < least || took > least+commands*time.Millisecond {
			t.Errorf("%d deep paths took %v, want %v", commands, took, least)
		}
		time.Sleep(time.Second) // until the timer of the last leave has fired
	})
}
