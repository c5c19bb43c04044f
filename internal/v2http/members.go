package v2http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"cairn/internal/membership"
)

// Cluster shows the members of the cluster and changes them.
type Cluster interface {
	// Members returns the members, sorted by ID.
	Members() []membership.Member
	// UpdatePeerURLs replaces the peer URLs of a member. It returns
	// membership.ErrNotFound and ErrPeerURLExists.
	UpdatePeerURLs(ctx context.Context, id uint64, peerURLs []string) error
	// AddMember and RemoveMember change the membership. See member.Member.
	AddMember(ctx context.Context, peerURLs []string, learner bool) (membership.Member, error)
	RemoveMember(ctx context.Context, id uint64) error
	// Leader returns the ID of the leader, or 0.
	Leader() uint64
}

const (
	membersPath = "/v2/members"
	// memberBodyBytesMax far exceeds any list of URLs.
	memberBodyBytesMax = 1 << 20
)

// memberJSON is a member on the wire.
type memberJSON struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
}

func memberOnWire(m *membership.Member) memberJSON {
	return memberJSON{
		ID: fmt.Sprintf("%x", m.ID), Name: m.Name,
		// [] rather than null
		PeerURLs: append([]string{}, m.PeerURLs...), ClientURLs: append([]string{}, m.ClientURLs...),
	}
}

// serveMembers serves requests for /v2/members and paths below it.
func (h *Handler) serveMembers(w http.ResponseWriter, r *http.Request) {
	w.Header()["X-Etcd-Cluster-Id"] = []string{h.b.ClusterID()}
	var err error
	switch r.Method {
	case http.MethodGet:
		err = h.getMembers(w, r)
	case http.MethodPost:
		err = h.addMember(w, r)
	case http.MethodPut:
		err = h.updateMember(w, r)
	case http.MethodDelete:
		err = h.removeMember(w, r)
	}
	if err != nil {
		writeMessage(w, err)
	}
}

func (h *Handler) getMembers(w http.ResponseWriter, r *http.Request) error {
	members := h.cluster.Members()
	switch strings.TrimPrefix(r.URL.Path, membersPath) {
	case "", "/":
		return writeJSONList(w, "members", "[]", func(yield func(memberJSON) bool) {
			for i := range members {
				if !yield(memberOnWire(&members[i])) {
					return
				}
			}
		})
	case "/leader":
		leader, ok := membership.Find(members, h.cluster.Leader())
		if !ok {
			return &message{http.StatusServiceUnavailable, "During election"}
		}
		return writeJSON(w, memberOnWire(&leader))
	default:
		return &message{http.StatusNotFound, "Not found"}
	}
}

func (h *Handler) addMember(w http.ResponseWriter, r *http.Request) error {
	peerURLs, err := readPeerURLs(r)
	if err != nil {
		return err
	}
	var added membership.Member
	err = h.asRoot(r, func(ctx context.Context) error {
		added, err = h.cluster.AddMember(ctx, peerURLs, false)
		return err
	})
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(http.StatusCreated)
	return writeJSON(w, memberOnWire(&added))
}

func (h *Handler) updateMember(w http.ResponseWriter, r *http.Request) error {
	id, err := memberID(r.URL.Path)
	if err != nil {
		return err
	}
	peerURLs, err := readPeerURLs(r)
	if err != nil {
		return err
	}
	err = h.asRoot(r, func(ctx context.Context) error { return h.cluster.UpdatePeerURLs(ctx, id, peerURLs) })
	if errors.Is(err, membership.ErrNotFound) {
		return noSuchMember(fmt.Sprintf("%x", id))
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (h *Handler) removeMember(w http.ResponseWriter, r *http.Request) error {
	id, err := memberID(r.URL.Path)
	if err != nil {
		return err
	}
	err = h.asRoot(r, func(ctx context.Context) error { return h.cluster.RemoveMember(ctx, id) })
	switch {
	case errors.Is(err, membership.ErrNotFound):
		return noSuchMember(fmt.Sprintf("%x", id))
	case errors.Is(err, membership.ErrRemoved):
		return &message{http.StatusGone, fmt.Sprintf("Member permanently removed: %x", id)}
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// memberID returns the ID in a path.
func memberID(path string) (uint64, error) {
	text := strings.TrimPrefix(strings.TrimPrefix(path, membersPath), "/")
	if text == "" {
		return 0, errNoMember
	}
	id, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0, noSuchMember(text)
	}
	return id, nil
}

// readPeerURLs returns the URLs in a request's body. They are checked in etcd's order: the type of
// the body, its form, the URLs.
func readPeerURLs(r *http.Request) ([]string, error) {
	contentType, _, parameters := strings.Cut(r.Header.Get("Content-Type"), ";")
	if parameters { // as in etcd, a type without parameters must be in lower case
		contentType = strings.ToLower(strings.TrimSpace(contentType))
	}
	if contentType != "application/json" {
		return nil, &message{
			http.StatusUnsupportedMediaType, "Bad Content-Type " + contentType + ", accept application/json",
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, memberBodyBytesMax))
	var wanted struct {
		PeerURLs []string `json:"peerURLs"`
	}
	if err == nil {
		err = json.Unmarshal(body, &wanted)
	}
	if err != nil {
		return nil, &message{http.StatusBadRequest, err.Error()}
	}
	urls, err := membership.ParseURLs(wanted.PeerURLs)
	if err != nil {
		return nil, &message{http.StatusBadRequest, err.Error()}
	}
	return urls, nil
}
