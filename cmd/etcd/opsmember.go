package main

import (
	"context"
	"errors"

	"cairn/internal/alarm"
	"cairn/internal/kv"
	"cairn/internal/member"
	"cairn/internal/mvcc"
)

// opsMember is a member as the operational paths see it: an ops.Member.
type opsMember struct{ *member.Member }

// CheckRead implements ops.Member: it reads the first key, if there is one.
func (m opsMember) CheckRead(ctx context.Context, serializable bool) error {
	if err := m.Live(); err != nil {
		return err
	}
	if !serializable {
		if reason := m.MissingMajority(); reason != "" {
			return errors.New(reason)
		}
		if err := m.WaitLinearizable(ctx); err != nil {
			return err
		}
	}
	_, err := m.Keys().Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte{0}, End: []byte{0}}, Limit: 1, KeysOnly: true}, nothing{})
	return err
}

// Alarms implements ops.Member.
func (m opsMember) Alarms() (names []string) {
	for _, a := range m.Member.Alarms().List(alarm.None) {
		names = append(names, a.Kind.String())
	}
	return names
}

// nothing is an mvcc.Sink that drops all keys.
type nothing struct{}

func (nothing) Add([]byte, *kv.Record) bool { return true }
func (nothing) Reset()                      {}
