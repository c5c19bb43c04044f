package console

import (
	"context"
	"math"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/v2tree"
)

// v2TTLMax is the longest TTL in seconds that a duration can have.
const v2TTLMax = math.MaxInt64 / int64(time.Second)

type v2Response struct {
	Revision int64 `json:"revision"`
}

// v2Set writes a key or a directory as the v2 API does: with a TTL, or on a condition.
func (c *call) v2Set() (any, error) {
	in := struct {
		Key       []byte `json:"key"`
		Value     []byte `json:"value"`
		Dir       bool   `json:"dir"`
		TTL       int64  `json:"ttl"` // seconds; negative for none
		PrevExist *bool  `json:"prev_exist"`
		PrevIndex uint64 `json:"prev_index"`
		Refresh   bool   `json:"refresh"`
	}{TTL: noTTL}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.TTL > v2TTLMax {
		return nil, invalidf("ttl %d: want at most %d seconds", in.TTL, v2TTLMax)
	}
	cmd := v2tree.Command{Kind: v2tree.KindSet, Path: in.Key, Value: in.Value, Dir: in.Dir, Refresh: in.Refresh, PrevIndex: in.PrevIndex}
	if in.TTL >= 0 {
		cmd.HasTTL, cmd.TTL = true, time.Duration(in.TTL)*time.Second
	}
	switch {
	case in.PrevExist != nil && !*in.PrevExist:
		cmd.Kind = v2tree.KindCreate
	case in.PrevIndex != 0 && !in.Dir:
		cmd.Kind = v2tree.KindCompareAndSwap
	case in.PrevExist != nil || in.Refresh:
		cmd.Kind = v2tree.KindUpdate
	}
	return c.write(&cmd)
}

// v2Delete deletes a key or a directory as the v2 API does.
func (c *call) v2Delete() (any, error) {
	var in struct {
		Key       []byte `json:"key"`
		Dir       bool   `json:"dir"`
		Recursive bool   `json:"recursive"`
		PrevIndex uint64 `json:"prev_index"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	cmd := v2tree.Command{Kind: v2tree.KindDelete, Path: in.Key, Dir: in.Dir || in.Recursive, Recursive: in.Recursive, PrevIndex: in.PrevIndex}
	if in.PrevIndex != 0 {
		cmd.Kind = v2tree.KindCompareAndDelete
	}
	return c.write(&cmd)
}

// write proposes a write of the v2 API on behalf of the caller.
func (c *call) write(cmd *v2tree.Command) (any, error) {
	if !c.opts.V2 {
		return nil, status.Error(codes.FailedPrecondition, "etcdserver: the v2 API is not served (--enable-v2)")
	}
	if !v2tree.ValidPath(cmd.Path) || v2tree.TooDeep(cmd.Path) {
		return nil, invalidf("the key is not a path of v2: want /NAME/NAME")
	}
	wanted := kv.KeyRange{Key: cmd.Path}
	if cmd.Recursive {
		wanted = auth.Prefix(cmd.Path)
	}
	var out v2Response
	err := c.guard().Do(c.r.Context(), c.credentials(c.r), func(ctx context.Context, caller *auth.Caller) error {
		if !caller.Subject.CanWrite(wanted) {
			return auth.Denied
		}
		if cmd.Kind != v2tree.KindDelete && cmd.Kind != v2tree.KindCompareAndDelete {
			if err := c.member.CheckSpace(); err != nil {
				return err
			}
		}
		res, err := c.member.Propose(ctx, machine.KindV2, cmd.Append(nil))
		if err == nil {
			out.Revision = res.V2.Index
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
