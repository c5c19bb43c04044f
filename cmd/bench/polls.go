package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// the figure is their median; the first is a warm-up and not counted
	pollRounds   = 7
	pollPatience = 2 * time.Minute // for any one response
	pollsKey     = "/v2/keys/bench-polls"
)

var (
	allAnswered  = metric{"all responded", seconds}
	cpuPerPoll   = metric{"CPU per poll", formatMicros}
	bytesPerPoll = metric{"memory per open poll", formatBytes}
)

// polls makes a scenario of n long polls on one key, each on its own connection, which one set
// completes.
func polls(name string, n int, goals map[string]goal) scenario {
	return scenario{
		name: name, summary: fmt.Sprintf("%d long polls on one key by v2: from the set to the last response", n),
		metrics: []metric{allAnswered, cpuPerPoll, bytesPerPoll}, goals: goals,
		run: func(ctx context.Context, t *trial) (sample, error) { return runPolls(ctx, t, n) },
	}
}

func runPolls(ctx context.Context, t *trial, n int) (sample, error) {
	n = max(n/t.scale.divisor, 20)
	if err := setPolled(ctx, t.server, 0); err != nil {
		return nil, err
	}
	before, err := sampleProcess(t.server.pid())
	if err != nil {
		return nil, err
	}
	conns := make([]*pollConn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close() // nothing was written that could be lost
			}
		}
	}()
	for i := range conns {
		nc, err := t.server.dial(ctx)
		if err != nil {
			return nil, fmt.Errorf("connection %d of %d: %w", i+1, n, err)
		}
		conns[i] = &pollConn{Conn: nc, request: fmt.Appendf(nil, "GET %s?wait=true HTTP/1.1\r\nHost: %s\r\n\r\n", pollsKey, t.server.client)}
		// A server may close a connection that brings no request.
		if err := conns[i].open(); err != nil {
			return nil, fmt.Errorf("poll %d of %d: %w", i+1, n, err)
		}
	}
	var took, cpus []float64
	result := sample{}
	for round := range pollRounds {
		if round > 0 {
			if err := each(conns, (*pollConn).open); err != nil {
				return nil, fmt.Errorf("round %d: open: %w", round, err)
			}
		}
		waiting, err := sampleProcess(t.server.pid())
		if err != nil {
			return nil, err
		}
		if round == 0 {
			result[bytesPerPoll.name] = float64(waiting.rssBytes-before.rssBytes) / float64(n)
		}
		elapsed, err := respondAll(ctx, t.server, conns, round)
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", round, err)
		}
		after, err := sampleProcess(t.server.pid())
		if err != nil {
			return nil, err
		}
		if round > 0 {
			took = append(took, elapsed.Seconds())
			cpus = append(cpus, micros(after.cpu()-waiting.cpu())/float64(n))
		}
	}
	result[allAnswered.name], result[cpuPerPoll.name] = median(took), mean(cpus)
	return result, t.server.running()
}

// mean is for values counted in coarse units.
func mean(values []float64) (m float64) {
	for _, v := range values {
		m += v / float64(len(values))
	}
	return m
}

// respondAll sets the key and returns the time until every connection has its whole response.
func respondAll(ctx context.Context, to *server, conns []*pollConn, round int) (time.Duration, error) {
	waiting := make(chan error, 1)
	var readers sync.WaitGroup
	readers.Add(len(conns))
	go func() {
		waiting <- each(conns, func(c *pollConn) error {
			readers.Done()
			return c.response()
		})
	}()
	readers.Wait()
	begin := time.Now()
	if err := setPolled(ctx, to, round+1); err != nil {
		return 0, err
	}
	err := <-waiting
	return time.Since(begin), err
}

// each calls do for all connections concurrently, and returns the first errors.
func each(conns []*pollConn, do func(*pollConn) error) error {
	errs := make([]error, len(conns))
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() { errs[i] = do(c) })
	}
	all.Wait()
	failed := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	return errors.Join(failed[:min(len(failed), 3)]...) // thousands of equal ones say no more
}

// setPolled sets the key over a separate connection, opened before the set.
func setPolled(ctx context.Context, to *server, value int) error {
	nc, err := to.dial(ctx)
	if err != nil {
		return fmt.Errorf("set: %w", err)
	}
	defer nc.Close()
	body := fmt.Sprintf("value=%d", value)
	if _, err := fmt.Fprintf(nc, "PUT %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		pollsKey, to.client, len(body), body); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	response, err := io.ReadAll(nc)
	if err != nil {
		return fmt.Errorf("set: %w", err)
	}
	if !bytes.HasPrefix(response, []byte("HTTP/1.1 20")) {
		return fmt.Errorf("set: %.200q", response)
	}
	return nil
}

// pollConn is a connection that polls. It reads responses with as little work as possible, since
// the load shares the machine with the server: a chunked response ends with an empty chunk.
type pollConn struct {
	net.Conn
	request []byte
	got     []byte
}

// open sends the request, and waits for the headers, which a server sends when it waits.
func (c *pollConn) open() error {
	if err := c.SetDeadline(time.Now().Add(pollPatience)); err != nil {
		return err
	}
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	c.got = c.got[:0]
	if err := c.readUntil([]byte("\r\n\r\n")); err != nil {
		return err
	}
	if !bytes.HasPrefix(c.got, []byte("HTTP/1.1 200")) || !bytes.Contains(c.got, []byte("chunked")) {
		return fmt.Errorf("not the headers of a poll: %.300q", c.got)
	}
	c.got = c.got[:0]
	return nil
}

// response reads the response to its end and checks that it reports the set.
func (c *pollConn) response() error {
	if err := c.SetDeadline(time.Now().Add(pollPatience)); err != nil {
		return err
	}
	if err := c.readUntil([]byte("\r\n0\r\n\r\n")); err != nil {
		return err
	}
	if !bytes.Contains(c.got, []byte(`"action":"set"`)) {
		return fmt.Errorf("response %.300q", c.got)
	}
	return nil
}

func (c *pollConn) readUntil(end []byte) error {
	for !bytes.HasSuffix(c.got, end) {
		if cap(c.got)-len(c.got) < 512 {
			c.got = append(make([]byte, 0, 2*cap(c.got)+1024), c.got...)
		}
		n, err := c.Read(c.got[len(c.got):cap(c.got)])
		c.got = c.got[:len(c.got)+n]
		if err != nil {
			return err
		}
	}
	return nil
}
