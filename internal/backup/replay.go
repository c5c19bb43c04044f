package backup

import (
	"encoding/base64"
	"fmt"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/crypto/bcrypt"

	"cairn/internal/auth"
	"cairn/internal/etcdfile"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/v3op"
)

// replayer applies the requests of etcd's log to an import, as etcd would at its next start.
type replayer struct {
	im    *machine.Importer
	found *Imported
	// alarms has the raised alarms: with NOSPACE etcd refuses requests that add data, with CORRUPT
	// all that change something.
	alarms map[raised]bool
}

// raised is an alarm of a member.
type raised struct {
	member uint64
	kind   etcdserverpb.AlarmType
}

// replayLog applies the committed entries behind the database.
func replayLog(im *machine.Importer, d *etcdfile.DataDir, found *Imported) error {
	p := &replayer{im: im, found: found, alarms: make(map[raised]bool)}
	alarms, err := d.Alarms()
	if err != nil {
		return err
	}
	for _, a := range alarms {
		p.alarm(etcdserverpb.AlarmRequest_ACTIVATE, a.MemberID, a.Alarm)
	}
	if err := im.BeginCommands(); err != nil {
		return err
	}
	found.Uncommitted = int64(d.WAL.Last() - d.Committed())
	return d.Requests(p.apply)
}

// apply applies one request.
func (p *replayer) apply(_ uint64, r *etcdserverpb.InternalRaftRequest) error {
	if r.Alarm != nil {
		p.alarm(r.Alarm.Action, r.Alarm.MemberID, r.Alarm.Alarm)
		return nil
	}
	if p.refuses(r) {
		return nil
	}
	if r.LeaseCheckpoint != nil {
		return p.checkpoints(r.LeaseCheckpoint)
	}
	kind, payload, err := command(r)
	if err != nil || kind == 0 {
		return err
	}
	res, err := p.im.Apply(p.as(kind, payload, r))
	if err != nil {
		return err
	}
	p.found.Replayed++
	if res.Err != nil {
		p.found.Refused++
	}
	return nil
}

func (p *replayer) alarm(action etcdserverpb.AlarmRequest_AlarmAction, member uint64, kind etcdserverpb.AlarmType) {
	switch action {
	case etcdserverpb.AlarmRequest_ACTIVATE:
		p.alarms[raised{member, kind}] = true
	case etcdserverpb.AlarmRequest_DEACTIVATE:
		delete(p.alarms, raised{member, kind})
	}
}

// refuses reports whether an alarm refuses a request.
func (p *replayer) refuses(r *etcdserverpb.InternalRaftRequest) bool {
	for a := range p.alarms {
		switch a.kind {
		case etcdserverpb.AlarmType_NOSPACE:
			if addsData(r) {
				return true
			}
		case etcdserverpb.AlarmType_CORRUPT:
			if addsData(r) || r.DeleteRange != nil || r.Txn != nil || r.Compaction != nil || r.LeaseRevoke != nil {
				return true
			}
		}
	}
	return false
}

// checkpoints sets the remaining TTLs of leases. A checkpoint of 0 s follows a renewal: the whole
// TTL remains.
func (p *replayer) checkpoints(r *etcdserverpb.LeaseCheckpointRequest) error {
	for _, c := range r.Checkpoints {
		if err := p.im.CheckpointLease(kv.LeaseID(c.ID), c.Remaining_TTL); err != nil {
			return err
		}
	}
	return nil
}

// as returns a command on behalf of the request's user: with authentication enabled, etcd
// authorizes a request again when it applies it.
func (p *replayer) as(kind machine.Kind, payload []byte, r *etcdserverpb.InternalRaftRequest) (machine.Kind, []byte) {
	state := p.im.AuthState()
	if !state.Enabled || kind == machine.KindAutoCompact {
		return kind, payload
	}
	actor := auth.Actor{Name: r.GetHeader().GetUsername(), Revision: state.Revision}
	switch {
	case r.LeaseGrant != nil, r.LeaseRevoke != nil && actor.Name == "":
		actor.Name = auth.RootName // etcd does not authorize it, or the lease has expired
	case actor.Name == "":
		return kind, payload // it will be refused
	default:
		actor.Revision = min(actor.Revision, r.GetHeader().GetAuthRevision())
	}
	return machine.KindAs, machine.AppendAs(nil, &actor, kind, payload)
}

// addsData reports whether etcd refuses a request while NOSPACE is raised.
func addsData(r *etcdserverpb.InternalRaftRequest) bool {
	return r.Put != nil || r.LeaseGrant != nil || r.Txn != nil && v3op.AddsData(r.Txn)
}

// command translates a request. It returns kind 0 for a request that changes no state of cairn's:
// reads, logins and the members' attributes.
func command(r *etcdserverpb.InternalRaftRequest) (kind machine.Kind, payload []byte, err error) {
	switch {
	case r.Put != nil:
		return machine.KindPut, machine.AppendPut(nil, v3op.Put(r.Put)), nil
	case r.DeleteRange != nil:
		return machine.KindDelete, machine.AppendDelete(nil, v3op.Delete(r.DeleteRange)), nil
	case r.Txn != nil:
		return machine.KindTxn, machine.AppendTxn(nil, v3op.Txn(r.Txn)), nil
	case r.Compaction != nil:
		return machine.KindAutoCompact, machine.AppendCompact(nil, r.Compaction.Revision), nil
	case r.LeaseGrant != nil:
		c := lease.Command{Kind: lease.KindGrant, ID: kv.LeaseID(r.LeaseGrant.ID), TTL: r.LeaseGrant.TTL}
		return machine.KindLease, c.Append(nil), nil
	case r.LeaseRevoke != nil:
		c := lease.Command{Kind: lease.KindRevoke, ID: kv.LeaseID(r.LeaseRevoke.ID)}
		return machine.KindLease, c.Append(nil), nil
	}
	c, err := authCommand(r)
	if err != nil || c == nil {
		return 0, nil, err
	}
	return machine.KindAuth, c.Append(nil), nil
}

// authCommand translates a request about users and roles; it returns nil for any other.
func authCommand(r *etcdserverpb.InternalRaftRequest) (c *auth.Command, err error) {
	switch {
	case r.AuthEnable != nil:
		return &auth.Command{Kind: auth.KindEnable}, nil
	case r.AuthDisable != nil:
		return &auth.Command{Kind: auth.KindDisable}, nil
	case r.AuthUserAdd != nil:
		c = &auth.Command{Kind: auth.KindV3UserAdd, Name: r.AuthUserAdd.Name}
		if !r.AuthUserAdd.GetOptions().GetNoPassword() {
			c.Hash, err = passwordHash(r.AuthUserAdd.Password, r.AuthUserAdd.HashedPassword)
		}
		return c, err
	case r.AuthUserChangePassword != nil:
		c = &auth.Command{Kind: auth.KindV3UserPassword, Name: r.AuthUserChangePassword.Name}
		c.Hash, err = passwordHash(r.AuthUserChangePassword.Password, r.AuthUserChangePassword.HashedPassword)
		return c, err
	case r.AuthUserDelete != nil:
		return &auth.Command{Kind: auth.KindUserDelete, Name: r.AuthUserDelete.Name}, nil
	case r.AuthUserGrantRole != nil:
		return &auth.Command{Kind: auth.KindV3UserGrant, Name: r.AuthUserGrantRole.User, Role: r.AuthUserGrantRole.Role}, nil
	case r.AuthUserRevokeRole != nil:
		return &auth.Command{Kind: auth.KindV3UserRevoke, Name: r.AuthUserRevokeRole.Name, Role: r.AuthUserRevokeRole.Role}, nil
	case r.AuthRoleAdd != nil:
		return &auth.Command{Kind: auth.KindV3RoleAdd, Name: r.AuthRoleAdd.Name}, nil
	case r.AuthRoleDelete != nil:
		return &auth.Command{Kind: auth.KindRoleDelete, Name: r.AuthRoleDelete.Role}, nil
	case r.AuthRoleGrantPermission != nil:
		c = &auth.Command{Kind: auth.KindV3RoleGrant, Name: r.AuthRoleGrantPermission.Name}
		c.Permission, err = permission(r.AuthRoleGrantPermission.Perm)
		return c, err
	case r.AuthRoleRevokePermission != nil:
		keys := kv.KeyRange{Key: r.AuthRoleRevokePermission.Key, End: r.AuthRoleRevokePermission.RangeEnd}
		return &auth.Command{
			Kind: auth.KindV3RoleRevoke, Name: r.AuthRoleRevokePermission.Role, Permission: auth.Permission{KeyRange: keys, Access: auth.ReadWrite},
		}, nil
	default:
		return nil, nil
	}
}

func permission(p *authpb.Permission) (auth.Permission, error) {
	access, err := accessOf(p.GetPermType())
	return auth.Permission{KeyRange: kv.KeyRange{Key: p.GetKey(), End: p.GetRangeEnd()}, Access: access}, err
}

// hashCost is bcrypt's cost of a password that the log has in clear text.
var hashCost = bcrypt.DefaultCost

// passwordHash returns the hash of a password: the log has it in base64 since etcd 3.5, and the
// password itself before.
func passwordHash(password, hashed string) (string, error) {
	if hashed == "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
		return string(hash), err
	}
	hash, err := base64.StdEncoding.DecodeString(hashed)
	if err != nil {
		return "", fmt.Errorf("%w: hash of a password: %w", etcdfile.ErrCorrupt, err)
	}
	return string(hash), nil
}
