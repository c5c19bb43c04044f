package grpcclient

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pingedPeer is the server's side of a connection: it counts the pings and answers them.
func pingedPeer(far net.Conn, pings *atomic.Int32, answers bool) {
	go func() { _, _ = far.Write(appendFrame(nil, 0, frameSettings, 0, 0)) }()
	in := bufio.NewReader(far)
	_, _ = in.Discard(len(prefaceText))
	head := make([]byte, frameHeaderLen)
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		payload := make([]byte, int(binary.BigEndian.Uint32(head)>>8))
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		if head[3] == framePing && head[4]&flagAck == 0 {
			pings.Add(1)
			if answers {
				_, _ = far.Write(append(appendFrame(nil, 8, framePing, flagAck, 0), payload...))
			}
		}
	}
}

// TestKeepalive holds that pings are sent while there is a call, without one only if that is
// permitted, and that a connection whose member does not answer ends.
func TestKeepalive(t *testing.T) {
	for name, c := range map[string]struct{ permitted, answers bool }{"calls only": {false, true}, "always": {true, true}, "no answer": {false, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				var pings atomic.Int32
				go pingedPeer(far, &pings, c.answers)
				o := Options{MaxRecvBytes: 1 << 20, KeepaliveTime: 10 * time.Second, KeepaliveTimeout: 5 * time.Second, KeepaliveWithoutCalls: c.permitted}
				n, err := newConn(&Client{opts: o}, near, "x", false)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if got := pings.Load(); (got > 0) != c.permitted {
					t.Errorf("%d pings without a call", got)
				}
				pings.Store(0)
				call := newCall(make([]byte, prefixLen))
				if err := n.begin(t.Context(), call, "/a/b", nil); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if pings.Load() == 0 {
					t.Error("no ping during a call")
				}
				select {
				case <-call.done:
					if c.answers {
						t.Errorf("the call ended with %v", call.err)
					}
				default:
					if !c.answers {
						t.Error("the call continues on a connection that does not answer")
					}
				}
				n.fail(unavailable(false, "the test is over"))
				time.Sleep(time.Minute) // the goroutine of the pings ends
			})
		})
	}
}
