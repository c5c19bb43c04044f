package backup

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"go.etcd.io/etcd/api/v3/authpb"

	"cairn/internal/etcdfile"
	"cairn/internal/kv"
	"cairn/internal/machine"
)

// sink receives an export. Finish completes the file and returns its size; Close removes an
// incomplete file.
type sink interface {
	Change(key []byte, r *kv.Record) error
	Compacted(revision int64) error
	Lease(l etcdfile.Lease) error
	Auth(a *etcdfile.Auth) error
	Finish() (size int64, err error)
	Close() error
}

// jsonLine is one line of an export in JSON. Bytes are in base64.
type jsonLine struct {
	Type           string           `json:"type"` // put, delete, compacted, lease, auth, user or role
	Revision       int64            `json:"revision,omitempty"`
	Sub            int64            `json:"sub,omitempty"` // of the changes of one revision, from 0 on
	Key            []byte           `json:"key,omitempty"`
	Value          *[]byte          `json:"value,omitempty"`
	CreateRevision int64            `json:"create_revision,omitempty"`
	Version        int64            `json:"version,omitempty"`
	Lease          string           `json:"lease,omitempty"` // in hexadecimal, as etcdctl shows it
	TTL            int64            `json:"ttl,omitempty"`   // in seconds
	Remaining      int64            `json:"remaining,omitempty"`
	Enabled        *bool            `json:"enabled,omitempty"`
	Name           string           `json:"name,omitempty"`
	Roles          []string         `json:"roles,omitempty"`
	PasswordHash   string           `json:"password_hash,omitempty"` // by bcrypt
	Permissions    []jsonPermission `json:"permissions,omitempty"`
}

type jsonPermission struct {
	Access   string `json:"access"` // READ, WRITE or READWRITE
	Key      []byte `json:"key"`
	RangeEnd []byte `json:"range_end,omitempty"`
}

// lineWriter writes an export as JSON lines.
type lineWriter struct {
	path, part string
	f          *os.File // nil after Close
	out        *bufio.Writer
	lines      *json.Encoder
}

func newLineWriter(path string) (*lineWriter, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("write %s: %w", path, os.ErrExist)
	}
	w := &lineWriter{path: path, part: path + ".part"}
	f, err := os.OpenFile(w.part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	w.f, w.out = f, bufio.NewWriterSize(f, 1<<20)
	w.lines = json.NewEncoder(w.out)
	return w, nil
}

// Change writes a change of a key.
func (w *lineWriter) Change(key []byte, r *kv.Record) error {
	line := jsonLine{Type: "delete", Revision: r.Mod.Main, Sub: r.Mod.Sub, Key: key}
	if !r.Deleted {
		line.Type, line.Value = "put", &r.Value
		line.CreateRevision, line.Version, line.Lease = r.CreateRevision, r.Version, leaseText(r.Lease)
	}
	return w.lines.Encode(&line)
}

func leaseText(id kv.LeaseID) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", uint64(id))
}

// Compacted writes a line that ends the keys as of a compaction.
func (w *lineWriter) Compacted(revision int64) error {
	return w.lines.Encode(&jsonLine{Type: "compacted", Revision: revision})
}

// Lease writes a lease.
func (w *lineWriter) Lease(l etcdfile.Lease) error {
	return w.lines.Encode(&jsonLine{Type: "lease", Lease: leaseText(l.ID), TTL: l.TTL, Remaining: l.Remaining})
}

// Auth writes users and roles.
func (w *lineWriter) Auth(a *etcdfile.Auth) error {
	err := w.lines.Encode(&jsonLine{Type: "auth", Enabled: &a.Enabled})
	for _, u := range a.Users {
		err = errors.Join(err, w.lines.Encode(&jsonLine{Type: "user", Name: string(u.Name), Roles: u.Roles, PasswordHash: string(u.Password)}))
	}
	for _, r := range a.Roles {
		line := jsonLine{Type: "role", Name: string(r.Name)}
		for _, p := range r.KeyPermission {
			line.Permissions = append(line.Permissions, jsonPermission{Access: authpb.Permission_Type_name[int32(p.PermType)], Key: p.Key, RangeEnd: p.RangeEnd})
		}
		err = errors.Join(err, w.lines.Encode(&line))
	}
	return err
}

// Finish completes the file and renames it to its final name.
func (w *lineWriter) Finish() (size int64, err error) {
	err = errors.Join(w.out.Flush(), w.f.Sync())
	info, failed := w.f.Stat()
	if err = errors.Join(err, failed, w.f.Close()); err != nil {
		return 0, err
	}
	w.f = nil
	return info.Size(), os.Rename(w.part, w.path)
}

// Close removes the file unless it is finished.
func (w *lineWriter) Close() error {
	if w.f == nil {
		return nil
	}
	return errors.Join(w.f.Close(), remove(w.part))
}

// ExportLines writes a state as lines of JSON: the keys as of the compaction, each change since,
// leases, users and roles.
func ExportLines(m *machine.Machine, path string, progress Progress) (done Exported, err error) {
	w, err := newLineWriter(path)
	if err != nil {
		return done, err
	}
	return export(m, w, progress)
}
