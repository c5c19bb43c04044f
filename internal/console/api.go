package console

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/auth"
	"cairn/internal/budget"
)

const (
	// bodyBytesMax limits the body of a request, in addition to the member's limit on values.
	bodyBytesMax = 64 << 10
	// v2BodyBytesMax limits the body of a write of the v2 API, which has a value in base64.
	v2BodyBytesMax = 4 << 20
	// pageTimeMax is how long the read of one page may take before it ends with fewer items than
	// requested.
	pageTimeMax = 250 * time.Millisecond
	// waitMax is how long a request waits for others that read many keys.
	waitMax = 10 * time.Second
	// pageBytesMax limits the keys and values in a page.
	pageBytesMax = 4 << 20
	// responseFactor is how many bytes of memory a page takes for each of its bytes: itself, its
	// base64, and JSON's two copies of that.
	responseFactor = 5
)

// call is a request of the API.
type call struct {
	*Console
	w http.ResponseWriter
	r *http.Request
}

// endpoint serves one path: it reads the request with decode and returns the response, which is
// encoded as JSON, or nil if it has written the response itself.
type endpoint struct {
	serve        func(c *call) (any, error)
	writes       bool // it is refused by --console-read-only
	bodyBytesMax int64
}

func (c *Console) endpoints() map[string]endpoint {
	read := func(serve func(c *call) (any, error)) endpoint {
		return endpoint{serve: serve, bodyBytesMax: bodyBytesMax}
	}
	write := func(serve func(c *call) (any, error)) endpoint {
		return endpoint{serve: serve, writes: true, bodyBytesMax: v2BodyBytesMax}
	}
	return map[string]endpoint{
		"session":     read((*call).session),
		"login":       read((*call).login),
		"logout":      read((*call).logout),
		"tree":        read((*call).tree),
		"search":      read((*call).search),
		"history":     read((*call).history),
		"times":       read((*call).times),
		"stats":       read((*call).stats),
		"cluster":     read((*call).cluster),
		"plan":        read((*call).plan),
		"permission":  read((*call).permission),
		"leases":      read((*call).leases),
		"locks":       read((*call).locks),
		"snapshot":    read((*call).snapshot),
		"move-leader": write((*call).moveLeader),
		"v2/set":      write((*call).v2Set),
		"v2/delete":   write((*call).v2Delete),
	}
}

// serveAPI serves POST /console/api/NAME.
func (c *Console) serveAPI(w http.ResponseWriter, r *http.Request, name string) {
	e, ok := c.api[name]
	var err error
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case !ok:
		err = status.Error(codes.NotFound, "etcdserver: no such path of the console's API")
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		err = refusalError{status.Error(codes.Unimplemented, "etcdserver: the console's API has POST only"), http.StatusMethodNotAllowed}
	case !isMarked(r):
		err = refuse(http.StatusForbidden, "requests of the console's API have the header "+marker+" and the origin of the console")
	case kind != "application/json":
		err = refusalError{invalidf("Content-Type %q: want application/json", kind), http.StatusUnsupportedMediaType}
	case e.writes && c.opts.ReadOnly:
		err = errReadOnly
	default:
		err = c.respond(w, r, e)
	}
	if err != nil {
		writeError(w, err)
	}
}

func (c *Console) respond(w http.ResponseWriter, r *http.Request, e endpoint) error {
	ctx, hold := budget.WithHold(r.Context(), responseFactor)
	defer hold.Close()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, e.bodyBytesMax)
	out, err := e.serve(&call{Console: c, w: w, r: r})
	if err != nil || out == nil {
		return err
	}
	if sized, ok := out.(interface{ bytes() int64 }); ok && sized.bytes() > budget.SmallBytes && !hold.TryTake(sized.bytes()*responseFactor) {
		return budget.ErrExhausted
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // the client may have disconnected
	return nil
}

// decode reads the body of a request.
func (c *call) decode(into any) error {
	d := json.NewDecoder(c.r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	tooLong := new(http.MaxBytesError)
	switch {
	case errors.Is(err, io.EOF): // an empty body is an empty request
		return nil
	case errors.As(err, &tooLong):
		return status.Errorf(codes.ResourceExhausted, "etcdserver: request body larger than %d bytes", tooLong.Limit)
	case err != nil:
		return invalidf("request body: %v", err)
	}
	return nil
}

// guard authorizes requests as the RPCs are.
func (c *Console) guard() auth.Guard { return auth.Guard{Gate: c.member.Gate(), Reads: c.member} }

// read runs a function that only reads with the caller's permissions, and again when users or roles
// change meanwhile.
func (c *call) read(do func(caller *auth.Caller) error) error {
	return c.guard().Read(c.r.Context(), c.credentials(c.r), do)
}

// identified returns an error unless the caller has a user, or authentication is disabled.
func (c *call) identified() error { return c.read(func(*auth.Caller) error { return nil }) }

// scan is read for a function that reads many keys: only a few of them run at a time.
func (c *call) scan(do func(caller *auth.Caller) error) error {
	wait, cancel := context.WithTimeout(c.r.Context(), waitMax)
	defer cancel()
	select {
	case c.scans <- struct{}{}:
		defer func() { <-c.scans }()
	case <-wait.Done():
		return errBusy
	}
	account := budget.FromContext(c.r.Context())
	if account.BeginLong(wait) != nil {
		return errBusy
	}
	defer account.EndLong()
	return c.read(do)
}

// base64Bytes are bytes in JSON; none are an empty string.
type base64Bytes []byte

// MarshalJSON implements json.Marshaler.
func (b base64Bytes) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, base64.StdEncoding.EncodedLen(len(b))+2)
	out = append(out, '"')
	out = base64.StdEncoding.AppendEncode(out, b)
	return append(out, '"'), nil
}
