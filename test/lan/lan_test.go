package lan

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"cairn/test/harness"
)

// newPair makes a network of two hosts, or skips the test where that is not permitted.
func newPair(t *testing.T) *LAN {
	t.Helper()
	l, err := New(2)
	if errors.Is(err, ErrNotPermitted) {
		harness.CannotRun(t, "%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// listen has a host echo what it receives.
func (h *host) listen(t *testing.T, address string) {
	t.Helper()
	var l net.Listener
	err := h.run(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
}

func TestPackets(t *testing.T) {
	l := newPair(t)
	address := l.Address(1) + ":7"
	l.hosts[1].listen(t, address)
	echo := func(patience time.Duration) (time.Duration, error) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := l.Dial(ctx, "tcp", address)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		if err := c.SetDeadline(began.Add(patience)); err != nil {
			return 0, err
		}
		sent := make([]byte, 100_000)
		got := make([]byte, len(sent))
		go func() { _, _ = c.Write(sent) }()
		_, err = io.ReadFull(c, got)
		return time.Since(began), err
	}
	if _, err := echo(time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, cut := range [][2]int{{0, 1}, {1, 0}} {
		l.Set(cut[0], cut[1], Rule{Lose: 1})
		if took, err := echo(300 * time.Millisecond); err == nil {
			t.Errorf("a response after %v, though all packets from %d to %d are lost", took, cut[0], cut[1])
		}
		l.Heal()
	}
	l.Set(0, 1, Rule{Lose: 0.1})
	if _, err := echo(time.Minute); err != nil {
		t.Errorf("where a tenth is lost: %v", err)
	}
	l.Heal()
	l.Set(0, 1, Rule{Delay: 100 * time.Millisecond})
	if took, err := echo(time.Minute); err != nil || took < 200*time.Millisecond {
		t.Errorf("a response after %v, %v, though the delay is 100 ms each way", took, err)
	}
}
