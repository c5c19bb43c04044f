package v2client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Node is a key or a directory. Its JSON is what `etcdctl -o json` prints.
type Node struct {
	Key           string     `json:"key"`
	Dir           bool       `json:"dir,omitempty"`
	Value         string     `json:"value"`
	Nodes         []*Node    `json:"nodes"`
	CreatedIndex  uint64     `json:"createdIndex"`
	ModifiedIndex uint64     `json:"modifiedIndex"`
	Expiration    *time.Time `json:"expiration,omitempty"`
	TTL           int64      `json:"ttl,omitempty"`
}

// Response is a successful response of the keys API.
type Response struct {
	Action   string `json:"action"`
	Node     *Node  `json:"node"`
	PrevNode *Node  `json:"prevNode"`
	Index    uint64 `json:"-"` // X-Etcd-Index: the store's index
}

// GetOptions are the options of a read.
type GetOptions struct{ Recursive, Sort, Quorum bool }

// Get reads a key or a directory.
func (c *Client) Get(ctx context.Context, key string, o GetOptions) (*Response, error) {
	return c.keys(ctx, Request{Method: http.MethodGet, Path: keyPath(key), Query: url.Values{
		"recursive": {strconv.FormatBool(o.Recursive)},
		"sorted":    {strconv.FormatBool(o.Sort)},
		"quorum":    {strconv.FormatBool(o.Quorum)},
	}})
}

// SetOptions are the conditions and attributes of a write; the zero value writes unconditionally,
// without a TTL.
type SetOptions struct {
	Dir       bool
	PrevExist *bool  // nil means no condition
	PrevValue string // empty means no condition
	PrevIndex uint64 // 0 means no condition
	TTL       time.Duration
}

// Set writes a key or, with Dir, makes or updates a directory.
func (c *Client) Set(ctx context.Context, key, value string, o SetOptions) (*Response, error) {
	query, form := url.Values{}, url.Values{}
	if o.Dir {
		query.Set("dir", "true")
	} else {
		form.Set("value", value)
	}
	if o.PrevExist != nil {
		query.Set("prevExist", strconv.FormatBool(*o.PrevExist))
	}
	condition(query, o.PrevValue, o.PrevIndex)
	if o.TTL > 0 {
		form.Set("ttl", strconv.FormatInt(int64(o.TTL/time.Second), 10))
	}
	body := form.Encode()
	return c.keys(ctx, Request{
		Method: http.MethodPut, Path: keyPath(key), Query: query, Body: &body,
		// If the response was lost, a second attempt to create would find the key that the first
		// one created.
		OneShot: o.PrevExist != nil && !*o.PrevExist,
	})
}

// CreateInOrder makes a key below dir whose name is greater than all earlier ones.
func (c *Client) CreateInOrder(ctx context.Context, dir, value string, ttl time.Duration) (*Response, error) {
	form := url.Values{"value": {value}}
	if ttl > 0 {
		form.Set("ttl", strconv.FormatInt(int64(ttl/time.Second), 10))
	}
	body := form.Encode()
	return c.keys(ctx, Request{Method: http.MethodPost, Path: keyPath(dir), Body: &body, OneShot: true})
}

// DeleteOptions are the conditions of a delete; the zero value deletes a key unconditionally.
type DeleteOptions struct {
	Dir, Recursive bool
	PrevValue      string
	PrevIndex      uint64
}

// Delete removes a key or a directory.
func (c *Client) Delete(ctx context.Context, key string, o DeleteOptions) (*Response, error) {
	query := url.Values{}
	if o.Dir {
		query.Set("dir", "true")
	}
	if o.Recursive {
		query.Set("recursive", "true")
	}
	condition(query, o.PrevValue, o.PrevIndex)
	return c.keys(ctx, Request{Method: http.MethodDelete, Path: keyPath(key), Query: query})
}

// Watch waits for the next change of a key, or, with recursive, of anything below it too. waitIndex
// is the first index that counts; 0 means the next one.
func (c *Client) Watch(ctx context.Context, key string, waitIndex uint64, recursive bool) (*Response, error) {
	query := url.Values{"wait": {"true"}, "recursive": {strconv.FormatBool(recursive)}}
	if waitIndex > 0 {
		query.Set("waitIndex", strconv.FormatUint(waitIndex, 10))
	}
	for {
		response, err := c.Do(ctx, Request{Method: http.MethodGet, Path: keyPath(key), Query: query, Watch: true})
		if err != nil {
			return nil, err
		}
		if response.Status != http.StatusOK || len(response.Body) > 0 {
			return decodeKeys(response)
		}
		// The server ends a long poll without events by an empty response: repeat it from the same
		// index.
		if index := indexOf(response); waitIndex == 0 && index > 0 {
			waitIndex = index + 1
			query.Set("waitIndex", strconv.FormatUint(waitIndex, 10))
		}
	}
}

func (c *Client) keys(ctx context.Context, r Request) (*Response, error) {
	response, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	return decodeKeys(response)
}

func decodeKeys(response *HTTPResponse) (*Response, error) {
	if response.Status != http.StatusOK && response.Status != http.StatusCreated {
		return nil, keysError(response)
	}
	var r Response
	if err := json.Unmarshal(response.Body, &r); err != nil || r.Node == nil {
		return nil, notEtcd(response)
	}
	r.Index = indexOf(response)
	return &r, nil
}

func indexOf(response *HTTPResponse) uint64 {
	index, _ := strconv.ParseUint(response.Header.Get("X-Etcd-Index"), 10, 64)
	return index
}

func condition(query url.Values, value string, index uint64) {
	if value != "" {
		query.Set("prevValue", value)
	}
	if index != 0 {
		query.Set("prevIndex", strconv.FormatUint(index, 10))
	}
}

func keyPath(key string) string { return "/v2/keys/" + key }

// HasV3Key reports whether the v3 API of an endpoint has a key, by the JSON gateway.
func (c *Client) HasV3Key(ctx context.Context, key string) (bool, error) {
	body := encode(struct {
		Key       []byte `json:"key"`
		CountOnly bool   `json:"count_only"`
	}{[]byte(key), true})
	response, err := c.Do(ctx, Request{Method: http.MethodPost, Path: "/v3/kv/range", Body: &body, JSON: true, OneShot: true})
	if err != nil {
		return false, err
	}
	var found struct{ Count json.Number }
	if err := json.Unmarshal(response.Body, &found); err != nil || response.Status != http.StatusOK {
		return false, notEtcd(response)
	}
	return found.Count != "" && found.Count != "0", nil
}
