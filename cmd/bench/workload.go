package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
)

// errKeyMissing is the error of a read of a key that should exist.
var errKeyMissing = errors.New("key missing: fill the key space first (bench fill, or bench v2-set -order sequential -total KEYS, with the same -keys, -key-size and -prefix)")

// A request sends one request, waits for its response and checks it. The ticket counts the requests
// of a phase from 0; the kind returned indexes workload.kinds. It is called by one goroutine at a
// time, so it may reuse its buffers.
type request func(ctx context.Context, ticket uint64) (kind int, err error)

// A workload makes the request functions of its clients. It owns the connections until it is
// closed.
type workload interface {
	// kinds names the kinds of its requests; if there are several, each is also reported
	// separately.
	kinds() []string
	// client returns client i's request function.
	client(i int) request
	close()
}

// A counting workload also reports what it has received, by name.
type counting interface {
	counters() map[string]int64
}

// workloadKind is a row of the table of workloads.
type workloadKind struct {
	name     string
	summary  string
	example  string
	defaults func(*settings)
	flags    func(*settings, *flag.FlagSet)
	// finite reports that the workload determines its number of requests, by total.
	finite bool
	total  func(settings) int
	// keysPerRequest returns the number of keys that a request counts for; nil means 1.
	keysPerRequest func(settings) int
	open           func(context.Context, settings, *keyspace) (workload, error)
}

var workloadKinds = []workloadKind{
	putKind, getKind, rangeKind, txnKind, txnPutKind, mixedKind, keepAliveKind, keepAliveOnceKind, leaseFleetKind, fillKind,
	v2SetKind, v2GetKind, connectKind, dialKind, grantKind, renewKind, watchKind, backupKind,
}

func findWorkload(name string) (workloadKind, bool) {
	for _, kind := range workloadKinds {
		if kind.name == name {
			return kind, true
		}
	}
	return workloadKind{}, false
}

func workloadNames() string {
	var names []string
	for _, kind := range workloadKinds {
		names = append(names, kind.name)
	}
	return strings.Join(names, ", ")
}

// wrongCount is the error for a response with another number of keys than were filled in.
func wrongCount(what string, got, want int64) error {
	return fmt.Errorf("%s %d, want %d: is the key space filled with exactly -keys keys?", what, got, want)
}
