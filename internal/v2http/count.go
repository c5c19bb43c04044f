package v2http

import (
	"net/http"
	"time"

	"cairn/internal/metrics"
)

// requestCount counts one request for a key, once it has been parsed.
type requestCount struct {
	to     *metrics.V2Requests // nil counts nothing
	method string
	watch  bool
	wall   func() time.Time
	began  time.Time
}

// count returns the count of a request. Of a watch, only a failure is counted, as in etcd.
func (h *Handler) count(method string, quorum, watch bool) requestCount {
	if quorum && method == http.MethodGet {
		method = metrics.QuorumGet
	}
	c := requestCount{to: h.requests, method: method, watch: watch, wall: h.wall}
	if c.to != nil && !watch {
		c.began = c.wall()
		c.to.Received(method)
	}
	return c
}

// served counts the request as served.
func (c *requestCount) served() {
	if c.to != nil && !c.watch {
		c.to.Served(c.method, c.wall().Sub(c.began))
	}
}

// failed counts the request as failed with an HTTP status.
func (c *requestCount) failed(status int) {
	if c.to != nil {
		c.to.Failed(c.method, status)
	}
}
