package v2client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// ErrNoEndpoints is returned when there is no URL to send requests to.
var ErrNoEndpoints = errors.New("client: no endpoints available")

// Error codes of the v2 API that a client checks.
const (
	CodeNotFound     = 100
	CodeNotFile      = 102
	CodeRaftInternal = 300
)

// Error is an error of the keys API, as in `100: Key not found (/a) [5]`.
type Error struct {
	Code    int    `json:"errorCode"`
	Message string `json:"message"`
	Cause   string `json:"cause"`
	Index   uint64 `json:"index"`
}

func (e *Error) Error() string {
	return fmt.Sprintf("%d: %s (%s) [%d]", e.Code, e.Message, e.Cause, e.Index)
}

// HTTPError is an error of the members and auth APIs: a status and a message.
type HTTPError struct {
	Status  int
	Message string
}

func (e *HTTPError) Error() string { return e.Message }

// ClusterError reports that no endpoint responded, with the error of each.
type ClusterError struct {
	Errors []error // one for each endpoint tried, in that order
}

func (e *ClusterError) Error() string {
	var b strings.Builder
	b.WriteString("client: etcd cluster is unavailable or misconfigured")
	for i, err := range e.Errors {
		fmt.Fprintf(&b, "; error #%d: %v\n", i, err)
	}
	return b.String()
}

// Detail lists the errors, one per line.
func (e *ClusterError) Detail() string {
	var b strings.Builder
	for i, err := range e.Errors {
		fmt.Fprintf(&b, "error #%d: %v\n", i, err)
	}
	return b.String()
}

// Unwrap returns the errors of the endpoints.
func (e *ClusterError) Unwrap() []error { return e.Errors }

// Unreachable reports whether an error means that no connection to an endpoint could be made.
func Unreachable(err error) bool {
	var cluster *ClusterError
	if errors.As(err, &cluster) {
		for _, fault := range cluster.Errors {
			if !Unreachable(fault) {
				return false
			}
		}
		return len(cluster.Errors) > 0
	}
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "dial" || op.Op == "read") {
		return true
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, syscall.ECONNREFUSED)
}

// keysError decodes an error of the keys API.
func keysError(a *HTTPResponse) error {
	var e Error
	if err := json.Unmarshal(a.Body, &e); err != nil || e.Code == 0 {
		return notEtcd(a)
	}
	return &e
}

// httpError decodes an error of the members and auth APIs.
func httpError(a *HTTPResponse) error {
	var m struct{ Message string }
	if err := json.Unmarshal(a.Body, &m); err != nil || m.Message == "" {
		m.Message = fmt.Sprintf("client: unexpected status code %d (%s)", a.Status, http.StatusText(a.Status))
	}
	return &HTTPError{Status: a.Status, Message: m.Message}
}

// NotEtcdError is the error for a response that etcd never sends.
type NotEtcdError struct {
	Status int
	Body   string // its beginning
}

func (e *NotEtcdError) Error() string {
	return fmt.Sprintf("client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint. (status %d, body %q)", e.Status, e.Body)
}

// notEtcd returns the error for a response that etcd never sends.
func notEtcd(a *HTTPResponse) error {
	body := strings.TrimSpace(string(a.Body))
	if len(body) > 60 {
		body = body[:60] + "…"
	}
	return &NotEtcdError{a.Status, body}
}
