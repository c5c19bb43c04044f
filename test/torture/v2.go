package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"cairn/check"
	"cairn/test/fleet"
)

// v2Client sends requests of the v2 API to the members in turn.
type v2Client struct {
	http  *http.Client
	fleet *fleet.Fleet // has the credentials
	urls  []string
	next  int
}

// ask sends a request to the next member and returns its response.
func (c *v2Client) ask(ctx context.Context, r *check.V2) (check.Response, outcome) {
	lost := unknown
	if r.Do == check.V2Get {
		lost = void
	}
	c.next++
	req, err := v2Request(ctx, c.urls[c.next%len(c.urls)], r)
	if err != nil {
		panic(err) // a bug of ours
	}
	if user, password := c.fleet.Credentials(); user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return check.Response{}, lost
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return check.Response{}, lost
	}
	out, ok := v2Response(resp, body)
	if !ok {
		return out, lost
	}
	return out, known
}

var v2Methods = map[string]string{
	check.V2Get: http.MethodGet, check.V2CreateInOrder: http.MethodPost,
	check.V2Delete: http.MethodDelete, check.V2CompareAndDelete: http.MethodDelete,
}

func v2Request(ctx context.Context, base string, r *check.V2) (*http.Request, error) {
	method, ok := v2Methods[r.Do]
	if !ok {
		method = http.MethodPut
	}
	query, form := url.Values{}, url.Values{}
	set := func(in url.Values, when bool, name, value string) {
		if when {
			in.Set(name, value)
		}
	}
	set(query, r.Linearized, "quorum", "true")
	set(query, r.Recursive, "recursive", "true")
	set(query, r.Dir, "dir", "true")
	set(query, r.PrevValue != "", "prevValue", r.PrevValue)
	set(query, r.PrevIndex != 0, "prevIndex", strconv.FormatInt(r.PrevIndex, 10))
	set(query, r.Do == check.V2Create, "prevExist", "false")
	set(query, r.Do == check.V2Update, "prevExist", "true")
	set(form, r.Value != "", "value", r.Value)
	set(form, r.HasTTL, "ttl", strconv.FormatInt(r.TTL/1e9, 10))
	req, err := http.NewRequestWithContext(ctx, method, base+"/v2/keys"+r.Path+"?"+query.Encode(), strings.NewReader(form.Encode()))
	if err == nil && method != http.MethodGet && method != http.MethodDelete {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, err
}

type v2Node struct {
	Key           string   `json:"key"`
	Dir           bool     `json:"dir"`
	Value         string   `json:"value"`
	CreatedIndex  int64    `json:"createdIndex"`
	ModifiedIndex int64    `json:"modifiedIndex"`
	Expiration    *string  `json:"expiration"`
	Nodes         []v2Node `json:"nodes"`
}

type v2Body struct {
	Action    string  `json:"action"`
	Node      *v2Node `json:"node"`
	PrevNode  *v2Node `json:"prevNode"`
	ErrorCode int     `json:"errorCode"`
	Cause     string  `json:"cause"`
	Index     int64   `json:"index"`
}

func v2Response(resp *http.Response, body []byte) (out check.Response, ok bool) {
	var b v2Body
	if err := json.Unmarshal(body, &b); err != nil {
		return out, false
	}
	if b.ErrorCode != 0 {
		// Codes from 300 on are errors of the cluster; lower ones are refusals by the tree.
		if b.ErrorCode >= 300 {
			return out, false
		}
		return check.Response{Revision: b.Index, Err: check.ErrV2, V2: &check.V2Response{Code: b.ErrorCode, Cause: b.Cause}}, true
	}
	if b.Node == nil {
		return out, false
	}
	v := &check.V2Response{Action: b.Action, Node: b.Node.model()}
	if b.PrevNode != nil {
		prev := b.PrevNode.model()
		v.Prev = &prev
	}
	index := b.Node.ModifiedIndex
	if b.Action == check.V2Get {
		n, err := strconv.ParseInt(resp.Header.Get("X-Etcd-Index"), 10, 64)
		if err != nil {
			return out, false
		}
		index = n
	}
	return check.Response{Revision: index, V2: v}, true
}

func (n *v2Node) model() check.V2Node {
	out := check.V2Node{
		Key: n.Key, Dir: n.Dir, Value: n.Value, Created: n.CreatedIndex, Modified: n.ModifiedIndex, TTL: n.Expiration != nil,
	}
	for i := range n.Nodes {
		out.Nodes = append(out.Nodes, n.Nodes[i].model())
	}
	return out
}
