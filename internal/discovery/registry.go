package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// registry is a discovery service of either protocol.
type registry interface {
	// list reads the size and the members.
	list(ctx context.Context) (*registered, error)
	// register creates the member's key. A request whose response is lost may have been executed:
	// then the retry finds the key, with the same text.
	register(ctx context.Context, id, text string) error
	// wait returns when something has changed since index, or after a while. The caller reads the
	// members again, so after a failure a pause is enough.
	wait(ctx context.Context, index uint64)
}

// registered has the members that have registered.
type registered struct {
	size    int
	members []node // in the order of registration
	index   uint64 // of the service at the time of the response
}

// join registers a member and waits until all members have registered. It returns
// --initial-cluster.
func join(ctx context.Context, r registry, log *slog.Logger, memberID uint64, text string) (cluster string, err error) {
	id := strconv.FormatUint(memberID, 16)
	have, err := r.list(ctx)
	switch {
	case err != nil:
		return "", err
	case have.find(id) >= 0:
		return "", ErrDuplicateID
	case len(have.members) >= have.size:
		return "", ErrFull
	}
	if err := r.register(ctx, id, text); err != nil {
		return "", err
	}
	return awaitFull(ctx, r, log, id)
}

// awaitFull reads the members repeatedly until all have registered. With an ID it returns ErrFull
// when that member is not among the first ones, which form the cluster.
func awaitFull(ctx context.Context, r registry, log *slog.Logger, id string) (cluster string, err error) {
	for {
		have, err := r.list(ctx)
		if err != nil {
			return "", err
		}
		at := have.find(id)
		switch {
		case at >= have.size:
			return "", ErrFull // other members were faster
		case (at >= 0 || id == "") && len(have.members) >= have.size:
			return have.cluster()
		}
		log.Info("waiting for members to register", "registered", len(have.members), "size", have.size)
		r.wait(ctx, have.index+1)
		if ctx.Err() != nil {
			return "", fmt.Errorf("discovery: %d of %d members have registered", len(have.members), have.size)
		}
	}
}

// noResponse returns the error of a request that was given up, because its context has ended. last
// is the error of the attempt before, nil if there was none.
func noResponse(service string, last error) error {
	if last == nil {
		return fmt.Errorf("discovery: no response from %s yet", service)
	}
	return fmt.Errorf("discovery: no response from %s: %w", service, last)
}

// find returns the place of a member, or -1.
func (r *registered) find(id string) int {
	return slices.IndexFunc(r.members, func(n node) bool { return path.Base(n.Key) == id })
}

// cluster joins the texts of the first members that registered.
func (r *registered) cluster() (string, error) {
	names := map[string]bool{}
	var texts []string
	for _, n := range r.members[:r.size] {
		name, _, ok := strings.Cut(n.Value, "=")
		if !ok || name == "" {
			return "", fmt.Errorf("%w: %q is no NAME=URL", ErrBadMembers, n.Value)
		}
		if names[name] {
			return "", fmt.Errorf("discovery: found duplicate name: two members are called %q; give each its own --name, and use a new discovery URL", name)
		}
		names[name] = true
		texts = append(texts, n.Value)
	}
	return strings.Join(texts, ","), nil
}

// parseSize reads the value of a size key.
func parseSize(text string) (int, error) {
	size, err := strconv.Atoi(text)
	if err != nil || size < 1 || size > sizeMax {
		return 0, fmt.Errorf("%w; it is %.40q", ErrBadSize, text)
	}
	return size, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
