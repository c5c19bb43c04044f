package httpproxy

import (
	"net/http"
	"strconv"
	"time"
)

// pollTimeout is the time after which members end a poll without an event, as etcd does: the client
// gets that end.
const pollTimeout = 5 * time.Minute

// continuePoll prepares the request for another member, after the response to a long poll of the v2
// API has ended without an event: its member has stopped, or was removed from the cluster. It
// reports false if the request is not such a poll, its time is over, or the client has
// disconnected.
//
// The client has the header already, since members send it when a poll begins. X-Etcd-Index in it
// is the revision after which the poll waits for an event, so no event is missed in between.
func (f *forwarded) continuePoll(resp *http.Response) bool {
	query := f.r.URL.Query()
	if !f.isSafe() || !isTrue(query, "wait") || isTrue(query, "stream") || resp.StatusCode != http.StatusOK || resp.ContentLength >= 0 ||
		time.Since(f.since) >= pollTimeout || f.r.Context().Err() != nil {
		return false
	}
	if !f.begun {
		if from, err := strconv.ParseUint(query.Get("waitIndex"), 10, 64); err != nil || from == 0 {
			began, err := strconv.ParseUint(resp.Header.Get("X-Etcd-Index"), 10, 64)
			if err != nil {
				return false
			}
			query.Set("waitIndex", strconv.FormatUint(began+1, 10))
		}
		target := *f.r.URL
		target.RawQuery = query.Encode()
		f.target = target.RequestURI()
	}
	f.begun = true
	return true
}
