package v2client

import (
	"context"
	"encoding/json"
	"net/http"
)

// Member is one member of the cluster.
type Member struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"` // empty until it has been started
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
}

// Members lists the members of the cluster.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	var list struct{ Members []Member }
	err := c.admin(ctx, Request{Method: http.MethodGet, Path: "/v2/members"}, &list, http.StatusOK)
	return list.Members, err
}

// Leader returns the leader.
func (c *Client) Leader(ctx context.Context) (*Member, error) {
	var m Member
	if err := c.admin(ctx, Request{Method: http.MethodGet, Path: "/v2/members/leader"}, &m, http.StatusOK); err != nil {
		return nil, err
	}
	return &m, nil
}

// AddMember adds a member with its peer URLs.
func (c *Client) AddMember(ctx context.Context, peerURLs []string) (*Member, error) {
	body := encode(map[string][]string{"peerURLs": peerURLs})
	var m Member
	r := Request{Method: http.MethodPost, Path: "/v2/members", Body: &body, JSON: true, OneShot: true}
	if err := c.admin(ctx, r, &m, http.StatusCreated); err != nil {
		return nil, err
	}
	return &m, nil
}

// UpdateMember changes a member's peer URLs.
func (c *Client) UpdateMember(ctx context.Context, id string, peerURLs []string) error {
	body := encode(map[string][]string{"peerURLs": peerURLs})
	return c.admin(ctx, Request{Method: http.MethodPut, Path: "/v2/members/" + id, Body: &body, JSON: true}, nil, http.StatusNoContent)
}

// RemoveMember removes a member from the cluster.
func (c *Client) RemoveMember(ctx context.Context, id string) error {
	return c.admin(ctx, Request{Method: http.MethodDelete, Path: "/v2/members/" + id}, nil, http.StatusNoContent)
}

// admin sends a request to the members or auth API and decodes a successful response, one with one
// of the given statuses, into out unless that is nil.
func (c *Client) admin(ctx context.Context, r Request, out any, statuses ...int) error {
	response, err := c.Do(ctx, r)
	if err != nil {
		return err
	}
	for _, status := range statuses {
		if response.Status != status {
			continue
		}
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(response.Body, out); err != nil {
			return notEtcd(response)
		}
		return nil
	}
	return httpError(response)
}

// encode encodes JSON of types whose encoding cannot fail.
func encode(x any) string {
	data, err := json.Marshal(x)
	if err != nil {
		panic(err)
	}
	return string(data)
}
