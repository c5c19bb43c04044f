package console

import (
	"bytes"
	"time"

	"cairn/internal/auth"
	"cairn/internal/kv"
)

const (
	historyDefault = 50
	historyMax     = 200
)

type historyRequest struct {
	Key    []byte `json:"key"`
	Before int64  `json:"before"`
	Limit  int    `json:"limit"`
	Values *bool  `json:"values"`
}

// versionJSON is one change of a key, and the version that it made.
type versionJSON struct {
	Type           string       `json:"type"` // put or delete
	ModRevision    int64        `json:"mod_revision"`
	Sub            int64        `json:"sub"` // the order of changes of one revision
	CreateRevision int64        `json:"create_revision"`
	Version        int64        `json:"version"`
	Lease          kv.LeaseID   `json:"lease,string"`
	Action         string       `json:"action,omitempty"` // v2's name for the change
	Size           int          `json:"size"`
	Value          *base64Bytes `json:"value,omitempty"`
	TimeAfter      *time.Time   `json:"time_after,omitempty"`
	TimeBefore     *time.Time   `json:"time_before,omitempty"`
}

type historyResponse struct {
	Revision        int64         `json:"revision"`
	CompactRevision int64         `json:"compact_revision"`
	Revisions       []versionJSON `json:"revisions"`
	More            bool          `json:"more"`

	size int64
}

func (h *historyResponse) bytes() int64 { return h.size }

// history returns the versions of a key that the history still has, the newest first.
func (c *call) history() (any, error) {
	in := historyRequest{Limit: historyDefault}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch {
	case len(in.Key) == 0:
		return nil, invalidf("key is empty")
	case in.Limit < 1 || in.Limit > historyMax:
		return nil, invalidf("limit %d: want 1 to %d", in.Limit, historyMax)
	}
	values := in.Values == nil || *in.Values
	var out *historyResponse
	err := c.scan(func(caller *auth.Caller) error {
		if !caller.Subject.CanRead(kv.KeyRange{Key: in.Key}) {
			return auth.Denied
		}
		head := c.member.Keys().Head()
		out = &historyResponse{Revision: head.Revision, CompactRevision: head.CompactRevision, Revisions: []versionJSON{}}
		return c.member.Keys().KeyHistory(in.Key, in.Before, func(rec *kv.Record, action kv.Action) bool {
			if len(out.Revisions) == in.Limit {
				out.More = true
				return false
			}
			out.add(rec, action, values)
			return c.r.Context().Err() == nil
		})
	})
	if err == nil {
		err = c.r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	for i := range out.Revisions {
		v := &out.Revisions[i]
		v.TimeAfter, v.TimeBefore = c.samples.timesOf(v.ModRevision)
	}
	return out, nil
}

func (h *historyResponse) add(rec *kv.Record, action kv.Action, values bool) {
	v := versionJSON{
		Type: "put", ModRevision: rec.Mod.Main, Sub: rec.Mod.Sub, CreateRevision: rec.CreateRevision, Version: rec.Version,
		Lease: rec.Lease, Action: action.String(), Size: len(rec.Value),
	}
	h.size += itemBytes
	switch {
	case rec.Deleted:
		v.Type = "delete"
	case values && h.size+int64(len(rec.Value)) <= pageBytesMax:
		value := base64Bytes(bytes.Clone(rec.Value))
		v.Value = &value
		h.size += int64(len(value))
	}
	h.Revisions = append(h.Revisions, v)
}

// timesResponse has what is known of when revisions were made, oldest first.
type timesResponse struct {
	Samples []sighting `json:"samples"`
}

// times returns the samples of revisions.
func (c *call) times() (any, error) {
	if err := c.decode(&struct{}{}); err != nil {
		return nil, err
	}
	var out timesResponse
	err := c.read(func(*auth.Caller) error {
		out.Samples = c.samples.sightings()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
