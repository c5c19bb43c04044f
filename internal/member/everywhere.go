package member

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Everywhere has the requests that any member accepts and other members carry out, too. The web
// console makes them: its pages speak to one member.
type Everywhere struct{ member *Member }

// moveLeaderPath is the path of the call that requests MoveLeader; its body is the ID of the new
// leader in eight bytes, big endian.
const moveLeaderPath = "leader/move"

// RequestMove is MoveLeader on any member: the leader carries it out.
func (e Everywhere) RequestMove(ctx context.Context, to uint64) error {
	m := e.member
	err := m.MoveLeader(ctx, to)
	if !errors.Is(err, ErrNotLeader) {
		return err
	}
	if _, err := (host{m}).CallLeader(ctx, moveLeaderPath, binary.BigEndian.AppendUint64(nil, to)); err != nil {
		return fmt.Errorf("request the leader to move leadership to member %x: %w", to, err)
	}
	return nil
}

func (e Everywhere) serveMoveLeader(ctx context.Context, _ uint64, body []byte) ([]byte, error) {
	if len(body) != 8 {
		return nil, fmt.Errorf("%d bytes, want a member ID of 8", len(body))
	}
	return nil, e.member.MoveLeader(ctx, binary.BigEndian.Uint64(body))
}

// logoutPath is the path of the call that ends a token; its body is the token.
const logoutPath = "auth/logout"

// logoutTimeout is how long a log-out waits for other members.
const logoutTimeout = 2 * time.Second

// Logout ends a simple token on this member and on those that it is connected to. Other members
// accept the token until it expires. A JWT cannot be ended.
func (e Everywhere) Logout(ctx context.Context, token string) {
	m := e.member
	m.gate.EndToken(token)
	ctx, cancel := context.WithTimeout(ctx, logoutTimeout)
	defer cancel()
	var calls sync.WaitGroup
	for _, record := range m.Members() {
		if record.ID == m.cfg.ID || m.calls.ActiveSince(record.ID).IsZero() {
			continue
		}
		calls.Go(func() {
			if _, err := m.calls.Call(ctx, record.ID, logoutPath, []byte(token)); err != nil {
				m.log.Info("a member accepts the token of a log-out until it expires", "member_id", idText(record.ID), "error", err)
			}
		})
	}
	calls.Wait()
}

// serveLogout ends a token for another member.
func (e Everywhere) serveLogout(_ context.Context, _ uint64, token []byte) ([]byte, error) {
	e.member.gate.EndToken(string(token))
	return nil, nil
}
