package reconfigure

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"cairn/internal/membership"
)

// PromoteMember promotes a learner that has caught up.
func (c *Changes) PromoteMember(ctx context.Context, id uint64) error {
	err := c.promote(ctx, id)
	c.o.Promoted(err)
	return err
}

func (c *Changes) promote(ctx context.Context, id uint64) error {
	record, err := c.find(ctx, id)
	if err != nil {
		return err
	}
	if !record.Learner {
		return membership.ErrNotLearner
	}
	ready, err := c.learnerReady(ctx, id)
	if err != nil {
		return err
	}
	if !ready {
		return ErrLearnerNotReady
	}
	if c.o.Strict {
		if err := c.checkPromotion(); err != nil {
			return err
		}
	}
	return c.change(ctx, &membership.Command{Kind: membership.KindPromote, ID: id}, membership.ErrNotLearner)
}

// learnerReadyPath is the path of the call to the leader that reports whether a learner has caught
// up: the ID (8 bytes) for a byte, 1 or 0.
const learnerReadyPath = "member/learner-ready"

// learnerReady requests from the leader whether a learner has caught up.
func (c *Changes) learnerReady(ctx context.Context, id uint64) (bool, error) {
	if c.o.Leader.Leads() {
		return c.o.Leader.CaughtUp(id), nil
	}
	reply, err := c.o.Leader.CallLeader(ctx, learnerReadyPath, binary.BigEndian.AppendUint64(nil, id))
	return len(reply) == 1 && reply[0] == 1, err
}

func (c *Changes) serveLearnerReady(_ context.Context, _ uint64, body []byte) ([]byte, error) {
	if len(body) != 8 {
		return nil, fmt.Errorf("asked for a learner: %d bytes, want 8", len(body))
	}
	if !c.o.Leader.Leads() {
		return nil, c.o.NotLeader
	}
	if c.o.Leader.CaughtUp(binary.BigEndian.Uint64(body)) {
		return []byte{1}, nil
	}
	return []byte{0}, nil
}

// PromoteLearners promotes the learners that have caught up, if --learner-auto-promote is set. The
// leader's member calls it at intervals.
func (c *Changes) PromoteLearners(ctx context.Context) {
	if !c.o.AutoPromote || !c.o.Leader.Leads() {
		return
	}
	for _, record := range c.o.Member.Members() {
		if !record.Learner || !record.Started() || !c.active(record.ID, 0) {
			continue
		}
		if err := c.PromoteMember(ctx, record.ID); err == nil {
			c.o.Log.Info("learner has caught up and is a voter now", "member_id", fmt.Sprintf("%x", record.ID), "name", record.Name)
		} else if !errors.Is(err, ErrLearnerNotReady) {
			c.o.Log.Warn("promote learner", "member_id", fmt.Sprintf("%x", record.ID), "error", err)
		}
	}
}
