package httpproxy

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tried returns the order in which endpoints are tried for a request, when all fail.
func tried(d *directory) (urls []string) {
	a := d.attempts()
	for e := a.next(); e != nil; e = a.next() {
		urls = append(urls, e.url)
		d.fail(e, errors.New("down"))
	}
	return urls
}

// TestAttempts holds that each member is tried once for a request, those that have failed last, and
// that the list follows what is found.
func TestAttempts(t *testing.T) {
	found, fault := []string{"http://a:1", "http://b:1", "https://c:1"}, error(nil)
	p := New(Options{
		Find:   func(context.Context) ([]string, error) { return found, fault },
		Logger: slog.New(slog.DiscardHandler), FailureWait: time.Hour,
	})
	d := p.members
	if got := tried(d); len(got) != 0 {
		t.Errorf("without members %v are tried", got)
	}
	d.refresh(t.Context())
	for range 3 { // with none that has failed, then with all
		got := tried(d)
		slices.Sort(got)
		if !slices.Equal(got, found) {
			t.Errorf("tried %v", got)
		}
	}
	if urls := d.urls(); len(urls) != 0 {
		t.Errorf("in use are %v, though all have failed", urls)
	}
	for _, e := range d.all() {
		if e.url == "http://b:1" {
			e.failedUntil.Store(0)
		}
	}
	if got := tried(d); len(got) != 3 || got[0] != "http://b:1" {
		t.Errorf("tried %v, want b first", got)
	}
	fault = errors.New("no answer")
	d.refresh(t.Context())
	if len(d.all()) != 3 {
		t.Error("a look-up that failed has changed the list")
	}
	found, fault = []string{"http://d:1", "not a URL", "http://a:1", "http://a:1"}, nil
	d.refresh(t.Context())
	if got := d.clientURLs(); len(got) != 2 {
		t.Errorf("the list is %v", got)
	}
	found = nil
	d.refresh(t.Context())
	if len(d.all()) != 2 {
		t.Error("an empty list of members was taken")
	}
}

// TestFailedSearchesAreLoggedSeldom: a proxy that cannot find the members searches four times in a
// second, and logs every 10 s.
func TestFailedSearchesAreLoggedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		searches := 0
		p := New(Options{
			Find:   func(context.Context) ([]string, error) { searches++; return nil, errors.New("no member") },
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		p.Run(ctx)
		if lines := strings.Count(log.String(), "cannot find the members"); lines != 3 || searches < 90 || !strings.Contains(log.String(), "not_logged=39") {
			t.Errorf("%d searches, %d lines:\n%s", searches, lines, log.String())
		}
	})
}
