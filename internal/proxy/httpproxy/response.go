package httpproxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

var copyBuffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// respond forwards the response. It reports whether to try another member.
func (f *forwarded) respond(c *conn) (again bool) {
	r := c.reader()
	defer freeReader(r)
	return f.respondFrom(c, r)
}

func (f *forwarded) respondFrom(c *conn, from *bufio.Reader) (again bool) {
	resp, err := readResponse(from, f.r)
	if err != nil {
		c.Close()
		return f.broken(c, err, f.rest != nil)
	}
	excluded := f.checkStatus(c, resp)
	if resp.Header.Get(notExecuted) != "" && f.rest == nil {
		c.Close()
		f.last = fmt.Errorf("%s was removed from its cluster", c.e.url)
		return true
	}
	if f.begun && resp.StatusCode != http.StatusOK {
		c.Close()
		panic(http.ErrAbortHandler) // the client has another status already
	}
	if !f.begun {
		f.sendHeader(resp)
	}
	empty, err := f.copyBody(resp)
	if err != nil || excluded || resp.Close || f.rest != nil || from.Buffered() > 0 {
		c.Close()
	} else {
		c.e.idle.put(c)
	}
	if empty && f.continuePoll(resp) {
		f.last = fmt.Errorf("%s has ended a poll without an event", c.e.url)
		if err != nil {
			f.last = err
			f.p.members.fail(c.e, err)
		}
		return true
	}
	if err != nil {
		// The client must not treat the part that it has as the whole response.
		panic(http.ErrAbortHandler)
	}
	return false
}

// sendHeader forwards the status and the header of a response.
func (f *forwarded) sendHeader(resp *http.Response) {
	header := f.w.Header()
	for name, values := range resp.Header {
		if !hopByHop[name] {
			header[name] = values
		}
	}
	if resp.ContentLength >= 0 && f.r.Method != http.MethodHead {
		header["Content-Length"] = resp.Header["Content-Length"]
	}
	f.w.WriteHeader(resp.StatusCode)
}

// notExecuted is the header field of a response to a request that has certainly not been executed,
// since its member was removed from the cluster.
const notExecuted = "X-Etcd-Not-Executed"

// checkStatus excludes a member that could not carry out a write, and reports whether it did: one
// that has just been removed, or that has lost its leader, would fail the next write as well. There
// is no leaderCheck: the cause may last, such as a full store.
func (f *forwarded) checkStatus(c *conn, resp *http.Response) (excluded bool) {
	excluded = !f.isSafe() && (resp.StatusCode == http.StatusInternalServerError || resp.StatusCode == http.StatusServiceUnavailable)
	if excluded {
		f.p.members.exclude(c.e, fmt.Errorf("it responded %s to %s", resp.Status, f.r.Method))
	}
	return excluded
}

// readResponse reads the head of the response, after informational ones.
func readResponse(from *bufio.Reader, r *http.Request) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(from, r)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		if err != nil || resp.StatusCode >= http.StatusOK {
			return resp, err
		}
	}
}

// copyBody forwards the body; one of unknown length as it arrives. It reports whether the member
// ended it, or broke it off, before any of it arrived.
func (f *forwarded) copyBody(resp *http.Response) (empty bool, err error) {
	if resp.ContentLength == 0 {
		return true, nil
	}
	defer resp.Body.Close()
	flusher := http.NewResponseController(f.w)
	if resp.ContentLength < 0 {
		if err := flusher.Flush(); err != nil {
			return false, err
		}
	}
	buffer := copyBuffers.Get().(*[copyBytes]byte)
	defer copyBuffers.Put(buffer)
	empty = true
	for {
		n, err := resp.Body.Read(buffer[:])
		if n > 0 {
			empty = false
			if _, err := f.w.Write(buffer[:n]); err != nil {
				return false, err
			}
			if resp.ContentLength < 0 {
				if err := flusher.Flush(); err != nil {
					return false, err
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return empty, nil
		case err != nil:
			return empty, err
		}
	}
}
