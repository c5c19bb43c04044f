package backup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/membership"
	"cairn/internal/storage"
)

// offline are the sizes of stores that no member serves from: nothing is read twice, and a program
// must be able to run beside the members of a machine, so that memory is small whatever the store's
// size.
var offline = storage.Options{CacheBytes: 16 << 20, MemTableBytes: 8 << 20}

// bulk are the options of a store that fillState fills.
var bulk = storage.Options{CacheBytes: 16 << 20, MemTableBytes: 32 << 20, Bulk: true}

// fillState makes a state store with what fill writes. The store is durable on return.
func fillState(dir string, fill func(*storage.Store) error) error {
	late, o := storage.NewLateSync(storage.OSFS), bulk
	o.FS = late
	state, err := storage.OpenState(dir, o)
	if err == nil {
		err = errors.Join(fill(state), state.Close())
	}
	return errors.Join(err, late.Finish())
}

// TargetOptions describe a member of a new cluster, as the flags of `snapshot restore` do.
type TargetOptions struct {
	Name                     string
	DataDir                  string // NAME.etcd when empty
	InitialCluster           string // NAME=URL[,NAME=URL…]
	InitialClusterToken      string
	InitialAdvertisePeerURLs string
	BumpRevision             uint64
	MarkCompacted            bool
}

// NewTarget returns the data directory that the options describe. IDs are computed as etcd does at
// bootstrap, so that all members made with the same options agree on them. Its errors name the
// flag.
func NewTarget(o TargetOptions) (t Target, err error) {
	const bumpMax = uint64(1) << 62
	switch {
	case o.BumpRevision > 0 != o.MarkCompacted:
		return t, fmt.Errorf("--bump-revision and --mark-compacted require each other: the skipped revisions have no history and must be marked as compacted")
	case o.BumpRevision > bumpMax:
		return t, fmt.Errorf("--bump-revision=%d: want at most %d", o.BumpRevision, bumpMax)
	}
	t = Target{Dir: o.DataDir, BumpRevision: int64(o.BumpRevision), MarkCompacted: o.MarkCompacted}
	if t.Dir == "" {
		t.Dir = o.Name + ".etcd"
	}
	c := config.Config{Name: o.Name, InitialCluster: o.InitialCluster}
	if c.InitialAdvertisePeerURLs, err = config.ParseURLs(o.InitialAdvertisePeerURLs); err != nil {
		return t, fmt.Errorf("--initial-advertise-peer-urls: %w", err)
	}
	founders, err := c.Founders(context.Background(), net.DefaultResolver.LookupNetIP)
	if err != nil {
		return t, err
	}
	t.Identity = datadir.Identity{Name: c.Name, Created: time.Now()}
	var ids []uint64
	for _, f := range founders {
		urls := f.PeerURLs.Strings()
		m := membership.Member{ID: membership.MemberID(urls, o.InitialClusterToken), PeerURLs: urls}
		if f.Name == c.Name {
			t.Identity.MemberID = m.ID
		}
		t.Members, ids = append(t.Members, m), append(ids, m.ID)
	}
	t.Identity.ClusterID = membership.ClusterID(ids)
	return t, nil
}
