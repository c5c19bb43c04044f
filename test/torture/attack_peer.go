package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"cairn/test/fleet"
)

// peerAttacks are made on the peer port by a process that is no member but knows all IDs, and the
// protocol (docs/formats/peer.md). Each must be refused.
var peerAttacks = []attack{
	{"bytes", peerBytes},
	{"peer requests", peerRequest},
	{"handshakes", peerHandshake},
	{"calls", peerCall},
	{"confirmations", peerConfirm},
	{"held connections", peerHold},
}

// dialPeer connects to the peer port for the time of one attack.
func dialPeer(ctx context.Context, m *fleet.Member) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.PeerAddress())
	if err == nil {
		deadline, _ := ctx.Deadline()
		err = conn.SetDeadline(deadline)
	}
	return conn, err
}

func (a *attacker) bytes(atMost int) []byte {
	b := make([]byte, a.rng.IntN(atMost))
	for i := range b {
		b[i] = byte(a.rng.Uint32())
	}
	return b
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// hangUp ends a connection in one of the ways in which clients do.
func (a *attacker) hangUp(conn net.Conn) {
	tcp := conn.(*net.TCPConn)
	switch a.rng.IntN(4) {
	case 0:
		_ = tcp.SetLinger(0) // a reset
	case 1:
		_ = tcp.CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, 64<<10))
	}
	_ = conn.Close()
}

// peerBytes sends bytes without any form.
func peerBytes(ctx context.Context, a *attacker, m *fleet.Member) error {
	conn, err := dialPeer(ctx, m)
	if err != nil {
		return nil // the member is paused, or has no room
	}
	_, _ = conn.Write(a.bytes(4 << 10))
	a.hangUp(conn)
	return nil
}

// identity has the headers of a request between members, with IDs that are right or nearly so.
func (a *attacker) identity(m *fleet.Member) http.Header {
	id := func(right uint64) string {
		return pick(a.rng, fmt.Sprintf("%016x", right), fmt.Sprintf("%016x", right), fmt.Sprintf("%016x", right),
			fmt.Sprintf("%016x", right+1), "0", "ffffffffffffffff", "", "x", string(a.bytes(40)))
	}
	members := a.b.fleet.Members()
	return http.Header{
		"Cairn-Peer-Versions": {pick(a.rng, "1", "1", "1", "1,2", "0", "")},
		"X-Etcd-Cluster-Id":   {id(a.b.clusterID)},
		"Cairn-From":          {id(pick(a.rng, members...).ID())},
		"Cairn-To":            {id(m.ID())},
		"Cairn-Lane":          {pick(a.rng, "control", "append", "snapshot", "", "x")},
		"Cairn-Token":         {pick(a.rng, hex.EncodeToString(a.bytes(33)), "", hex.EncodeToString(make([]byte, 32)))},
	}
}

// headOf writes the head of a request by hand: package net/http would refuse what is wrong in it.
func (a *attacker) headOf(method, path string, h http.Header) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, pick(a.rng, "x", "localhost", "", string(a.bytes(8))))
	for name, values := range h {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// peerRequest sends a request whose head is random, or damaged.
func peerRequest(ctx context.Context, a *attacker, m *fleet.Member) error {
	conn, err := dialPeer(ctx, m)
	if err != nil {
		return nil
	}
	h := a.identity(m)
	switch a.rng.IntN(5) {
	case 0:
		h.Set("Content-Length", pick(a.rng, "-1", "99999999999999", "10", "x"))
	case 1:
		h.Set("Transfer-Encoding", pick(a.rng, "chunked", "gzip, chunked", "x"))
	case 2:
		h.Set("X-Long", hex.EncodeToString(a.bytes(64<<10)))
	}
	path := pick(a.rng, "/cairn/peer/stream", "/cairn/peer/call/", "/cairn/peer/confirm", "/members", "/version", "/health", "/raft", "/", "*",
		"/cairn/peer/stream/../call/x", string(a.bytes(50)))
	head := a.headOf(pick(a.rng, "GET", "POST", "PUT", "DELETE", "PRI", "CONNECT", string(a.bytes(8))), path, h)
	if a.rng.IntN(3) == 0 {
		a.damage(head)
	}
	_, _ = conn.Write(head)
	_, _ = conn.Write(a.bytes(2 << 10))
	a.hangUp(conn)
	return nil
}

// damage changes some bytes.
func (a *attacker) damage(b []byte) {
	for range 1 + a.rng.IntN(4) {
		if len(b) > 0 {
			b[a.rng.IntN(len(b))] ^= byte(1 << a.rng.IntN(8))
		}
	}
}

// answered returns the status of the answer to a request, 0 when there is none.
func answered(conn net.Conn) int {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// peerHandshake asks for a stream in a member's name, and sends frames whatever the answer is.
func peerHandshake(ctx context.Context, a *attacker, m *fleet.Member) error {
	conn, err := dialPeer(ctx, m)
	if err != nil {
		return nil
	}
	defer a.hangUp(conn)
	h := a.identity(m)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "cairn-peer")
	if _, err := conn.Write(a.headOf("GET", "/cairn/peer/stream", h)); err != nil {
		return nil
	}
	if a.rng.IntN(2) == 0 { // without waiting for the answer
		_, _ = conn.Write(a.frames(m))
	}
	status := answered(conn)
	_, _ = conn.Write(a.frames(m))
	if status == http.StatusSwitchingProtocols {
		return fmt.Errorf("a stream was opened with the head %v", h)
	}
	return nil
}

// peerCall makes a call in a member's name.
func peerCall(ctx context.Context, a *attacker, m *fleet.Member) error {
	conn, err := dialPeer(ctx, m)
	if err != nil {
		return nil
	}
	defer a.hangUp(conn)
	body, h := a.bytes(1<<10), a.identity(m)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = conn.Write(append(a.headOf("POST", "/cairn/peer/call/"+pick(a.rng, "member/hashkv", "member/learner-ready", "x"), h), body...))
	if status := answered(conn); status == http.StatusOK || status == http.StatusUnprocessableEntity {
		return fmt.Errorf("a call was answered with %d", status)
	}
	return nil
}

// peerConfirm asks a member to confirm a token that it has not sent.
func peerConfirm(ctx context.Context, a *attacker, m *fleet.Member) error {
	conn, err := dialPeer(ctx, m)
	if err != nil {
		return nil
	}
	defer a.hangUp(conn)
	h := a.identity(m)
	h.Set("Cairn-Token-Hash", pick(a.rng, hex.EncodeToString(a.bytes(33)), hex.EncodeToString(make([]byte, 32)), ""))
	_, _ = conn.Write(a.headOf("GET", "/cairn/peer/confirm", h))
	if status := answered(conn); status == http.StatusNoContent || status == http.StatusOK {
		return fmt.Errorf("a token was confirmed with %d", status)
	}
	return nil
}

// peerHold keeps connections open without a whole request, or without the next one.
func peerHold(ctx context.Context, a *attacker, m *fleet.Member) error {
	var open []net.Conn
	for range 1 + a.rng.IntN(30) {
		conn, err := dialPeer(ctx, m)
		if err != nil {
			break
		}
		open = append(open, conn)
		switch a.rng.IntN(3) {
		case 0:
			_, _ = conn.Write(a.headOf("GET", "/version", nil))
		case 1:
			head := a.headOf("GET", "/cairn/peer/stream", a.identity(m))
			_, _ = conn.Write(head[:a.rng.IntN(len(head))])
		}
	}
	sleep(ctx, time.Duration(a.rng.IntN(900))*time.Millisecond)
	for _, conn := range open {
		a.hangUp(conn)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frames returns some frames: raft messages that no member sends, or damaged ones.
func (a *attacker) frames(m *fleet.Member) (all []byte) {
	for range 1 + a.rng.IntN(4) {
		payload := a.bytes(512)
		if a.rng.IntN(4) > 0 {
			payload = a.message(m)
		}
		body := append([]byte{pick(a.rng, byte(1), 1, 1, 1, 2, 4, 5, 6, 8, 99)}, payload...)
		head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
		head = binary.BigEndian.AppendUint32(head, crc32.Checksum(body, castagnoli))
		if a.rng.IntN(8) == 0 {
			a.damage(head)
		}
		all = append(append(all, head...), body...)
	}
	return all
}

// message returns a raft message with numbers that would do harm.
func (a *attacker) message(m *fleet.Member) []byte {
	number := func() *uint64 {
		return pick(a.rng, nil, proto.Uint64(a.rng.Uint64N(50)), proto.Uint64(a.rng.Uint64N(1<<20)), proto.Uint64(1<<50), proto.Uint64(math.MaxUint64))
	}
	msg := &raftpb.Message{
		Type: raftpb.MessageType(a.rng.IntN(24)).Enum(), To: proto.Uint64(m.ID()), From: proto.Uint64(pick(a.rng, a.b.fleet.Members()...).ID()),
		Term: number(), LogTerm: number(), Index: number(), Commit: number(), RejectHint: number(), Context: a.bytes(64),
	}
	for range a.rng.IntN(3) {
		msg.Entries = append(msg.Entries, &raftpb.Entry{
			Type: raftpb.EntryType(a.rng.IntN(4)).Enum(), Term: number(), Index: number(), Data: a.bytes(256),
		})
	}
	b, err := proto.Marshal(msg)
	if err != nil {
		panic(err) // numbers and bytes alone
	}
	return b
}
