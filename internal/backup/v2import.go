package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/auth"
	"cairn/internal/datadir"
	"cairn/internal/etcdfile"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/storage"
	"cairn/internal/v2tree"
)

// v2Keys is the directory of the users' keys in etcd's v2 store.
const v2Keys = "/1"

// v2Importer makes a state from a v2 store and the log behind it. A revision is an index of v2.
type v2Importer struct {
	im    *machine.Importer
	found *Imported
	// others has the nodes outside of the users' keys: members, users, roles. A directory has no
	// value.
	others   map[string]*string
	advanced int    // number of index increments by others
	snapshot uint64 // the last entry in the snapshot
}

// ImportV2 makes a member's data directory from the v2 keys of a data directory of etcd, or of a
// backup by `etcdctl backup`: the nodes with their indexes and TTLs, users and roles.
func ImportV2(d *etcdfile.V2Dir, t Target, progress Progress) (found Imported, err error) {
	err = t.make(datadir.Import, func(scratch string) error {
		err := fillState(filepath.Join(scratch, "state"), func(state *storage.Store) error {
			return importV2State(state, d, t, progress, &found)
		})
		if err != nil {
			return err
		}
		return makeLog(filepath.Join(scratch, "log"))
	})
	return found, err
}

func importV2State(state *storage.Store, d *etcdfile.V2Dir, t Target, progress Progress, found *Imported) (err error) {
	p := &v2Importer{found: found, snapshot: d.Store.Entry, others: make(map[string]*string)}
	if p.im, err = machine.NewImporter(state, initialIndex, initialTerm, t.Members, d.Store.CurrentIndex); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.im.Close()) }()
	found.CompactRevision = d.Store.CurrentIndex
	if err := p.store(&d.Store); err != nil {
		return err
	}
	if err := p.im.BeginCommands(); err != nil {
		return err
	}
	if err := p.log(d.WAL, progress); err != nil {
		return err
	}
	if p.im.Time() == 0 { // the log does not record when it ends
		p.im.SetTime(deadlineAt(t.Identity.Created))
	}
	if err := p.auth(); err != nil {
		return err
	}
	found.Revision, err = p.im.Finish()
	return err
}

// store imports the nodes of a snapshot: the keys first, then directories and deadlines, which need
// the keys.
func (p *v2Importer) store(s *etcdfile.V2Store) error {
	if s.Root == nil {
		return nil
	}
	if err := p.walk(s.Root, p.key); err != nil {
		return err
	}
	return p.walk(s.Root, p.rest)
}

// walk visits the nodes below the root.
func (p *v2Importer) walk(n *etcdfile.V2Node, visit func(n *etcdfile.V2Node, key string, users bool) error) error {
	for _, child := range n.Children {
		key, users := strings.CutPrefix(child.Path, v2Keys)
		users = users && (key == "" || key[0] == '/')
		if child.Path != v2Keys {
			if err := visit(child, key, users); err != nil {
				return err
			}
		}
		if err := p.walk(child, visit); err != nil {
			return err
		}
	}
	return nil
}

// key imports a key.
func (p *v2Importer) key(n *etcdfile.V2Node, key string, users bool) error {
	if !users || n.Children != nil {
		return nil
	}
	p.found.Changes++
	r := kv.Record{
		CreateRevision: n.CreatedIndex, Mod: kv.Revision{Main: n.ModifiedIndex}, Version: 1,
		Deadline: deadlineAt(n.ExpireTime), Value: []byte(n.Value),
	}
	if n.ModifiedIndex != n.CreatedIndex {
		r.Version = 2 // v2 does not count the writes of a key
	}
	return p.im.Key([]byte(key), &r)
}

// rest imports a directory, the deadline of a key, or a node outside of the users' keys.
func (p *v2Importer) rest(n *etcdfile.V2Node, key string, users bool) error {
	deadline := deadlineAt(n.ExpireTime)
	switch {
	case !users && n.Children != nil:
		p.others[n.Path] = nil
	case !users:
		p.others[n.Path] = &n.Value
	case n.Children != nil:
		return p.im.Directory([]byte(key), n.CreatedIndex, deadline)
	case deadline != 0:
		return p.im.Deadline([]byte(key), deadline)
	}
	return nil
}

// permanentBefore is the time before which etcd treats a deadline as none.
var permanentBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// deadlineAt converts a time to cluster time, which starts in 1970 in an import of v2: so the log
// expires the same nodes on every member that is imported.
func deadlineAt(t time.Time) kv.ClusterTime {
	if t.Before(permanentBefore) {
		return 0
	}
	return kv.ClusterTime(t.UnixNano())
}

// log applies the committed entries behind the snapshot.
func (p *v2Importer) log(w *etcdfile.WAL, progress Progress) error {
	to := w.Last()
	if p.members() > 1 {
		to = min(to, max(w.Commit(), p.snapshot))
	}
	p.found.Uncommitted = int64(w.Last() - to)
	return w.Entries(to, func(e *raftpb.Entry) error {
		if p.found.Replayed++; progress != nil && p.found.Replayed%progressChanges == 0 {
			progress(p.found.Changes+p.found.Replayed, float64(e.GetIndex()-p.snapshot)/float64(to-p.snapshot))
		}
		if e.GetType() == raftpb.EntryConfChange {
			return p.membership(e.Data)
		}
		r, ok, err := etcdfile.ParseV2Request(e.Data)
		if err != nil || !ok {
			return err
		}
		return p.apply(&r)
	})
}

func (p *v2Importer) members() (n int) {
	for name := range p.others {
		if path.Dir(name) == "/0/members" {
			n++
		}
	}
	return n
}

// membership applies a change of the members. Each increments the index, because etcd stores the
// members as v2 nodes.
func (p *v2Importer) membership(data []byte) error {
	c, err := etcdfile.ParseConfChange(data)
	if err != nil {
		return err
	}
	member := fmt.Sprintf("/0/members/%x", c.GetNodeId())
	switch c.GetType() {
	case raftpb.ConfChangeRemoveNode:
		if err := p.other(&etcdfile.V2Request{Method: "DELETE", Path: member, Recursive: true}); err != nil {
			return err
		}
		return p.other(&etcdfile.V2Request{Method: "PUT", Path: fmt.Sprintf("/0/removed_members/%x", c.GetNodeId())})
	default:
		return p.other(&etcdfile.V2Request{Method: "PUT", Path: member + "/raftAttributes"})
	}
}

// apply applies a request.
func (p *v2Importer) apply(r *etcdfile.V2Request) error {
	if r.Method == "SYNC" {
		p.im.SetTime(kv.ClusterTime(r.Time))
		return p.im.Expire()
	}
	key, users := strings.CutPrefix(r.Path, v2Keys)
	if !users || key != "" && key[0] != '/' {
		return p.other(r)
	}
	c, ok := v2Command(r, key, p.im.Time())
	if !ok {
		return nil
	}
	res, err := p.im.ApplyV2(c)
	if res.Err != nil {
		p.found.Refused++
	}
	return err
}

// v2Command translates a request; ok is false for a read.
func v2Command(r *etcdfile.V2Request, key string, now kv.ClusterTime) (c *v2tree.Command, ok bool) {
	if key == "" {
		key = "/"
	}
	c = &v2tree.Command{
		Path: []byte(key), Value: []byte(r.Value), Dir: r.Dir, Recursive: r.Recursive, Refresh: r.Refresh,
		PrevValue: []byte(r.PrevValue), PrevIndex: r.PrevIndex,
	}
	if r.Expiration != 0 {
		c.HasTTL, c.TTL = true, time.Duration(kv.ClusterTime(r.Expiration)-now)
	}
	compares := r.PrevValue != "" || r.PrevIndex != 0
	switch {
	case r.Method == "POST":
		c.Kind = v2tree.KindCreateInOrder
	case r.Method == "DELETE" && compares:
		c.Kind = v2tree.KindCompareAndDelete
	case r.Method == "DELETE":
		c.Kind = v2tree.KindDelete
	case r.Method != "PUT":
		return nil, false
	case r.PrevExist != nil && !*r.PrevExist:
		c.Kind = v2tree.KindCreate
	case compares:
		c.Kind = v2tree.KindCompareAndSwap
	case r.PrevExist != nil:
		c.Kind = v2tree.KindUpdate
	default:
		c.Kind = v2tree.KindSet
	}
	return c, true
}

// other applies a request for a node outside of the users' keys: it increments the index where etcd
// executed the request.
func (p *v2Importer) other(r *etcdfile.V2Request) error {
	old, there := p.others[r.Path]
	isDir := there && old == nil
	switch {
	case r.Method == "DELETE" && there && (!isDir || r.Dir || r.Recursive):
		delete(p.others, r.Path)
		for name := range p.others {
			if strings.HasPrefix(name, r.Path+"/") {
				delete(p.others, name)
			}
		}
	case r.Method == "PUT" && (r.PrevExist == nil || *r.PrevExist == there) && (!isDir || r.Dir && r.PrevExist != nil):
		for dir := path.Dir(r.Path); len(dir) > 1; dir = path.Dir(dir) {
			if _, there := p.others[dir]; !there {
				p.others[dir] = nil
			}
		}
		p.others[r.Path] = &r.Value
		if r.Dir {
			p.others[r.Path] = nil
		}
	default:
		return nil // a read, or refused
	}
	// The first index is the initial revision of a store.
	if p.advanced++; p.advanced == 1 && p.found.CompactRevision == 0 {
		return nil
	}
	return p.im.Advance()
}

// v2User and v2Role are the values of users and roles.
type v2User struct {
	User     string   `json:"user"`
	Password string   `json:"password"`
	Roles    []string `json:"roles"`
}

type v2Role struct {
	Role        string `json:"role"`
	Permissions struct {
		KV struct {
			Read  []string `json:"read"`
			Write []string `json:"write"`
		} `json:"kv"`
	} `json:"permissions"`
}

// auth imports users and roles.
func (p *v2Importer) auth() error {
	r := auth.Restoration{Revision: 1}
	for name, value := range p.others {
		if value == nil {
			continue
		}
		switch dir, _ := path.Split(name); {
		case name == "/2/enabled":
			r.Enabled = *value == "true"
		case dir == "/2/users/":
			var u v2User
			if err := json.Unmarshal([]byte(*value), &u); err != nil {
				return fmt.Errorf("%w: %s: %w", etcdfile.ErrCorrupt, name, err)
			}
			r.Users = append(r.Users, auth.User{Name: u.User, Hash: u.Password, Roles: u.Roles})
		case dir == "/2/roles/":
			var v v2Role
			if err := json.Unmarshal([]byte(*value), &v); err != nil {
				return fmt.Errorf("%w: %s: %w", etcdfile.ErrCorrupt, name, err)
			}
			r.Roles = append(r.Roles, restoredRole(&v))
		}
	}
	p.found.AuthEnabled, p.found.Users, p.found.Roles = r.Enabled, len(r.Users), len(r.Roles)
	return p.im.Auth(&r)
}

func restoredRole(v *v2Role) auth.RestoredRole {
	role := auth.RestoredRole{Name: v.Role}
	for _, pattern := range v.Permissions.KV.Read {
		role.Permissions = append(role.Permissions, auth.PatternPermission(pattern, auth.Read))
	}
	for _, pattern := range v.Permissions.KV.Write {
		role.Permissions = append(role.Permissions, auth.PatternPermission(pattern, auth.Write))
	}
	return role
}
