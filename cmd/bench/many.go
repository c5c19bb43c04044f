package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"
)

const manyAbout = `bench many starts a server on an empty directory, and puts single keys at a constant rate while

   1. nothing else happens
   2. -leases leases are granted
   3. each of them is renewed once
   4. they wait until their TTL is over
   5. they expire
   6. -together leases are granted that end at the same time, and
   7. they expire
   8. -watches watches of as many keys are made, over -streams streams
   9. they receive the puts' events
  10. they end
  11. -connections connections are opened, each with a get
  12. they are idle
  13. they are closed

It prints the puts' latency in each phase beside the latency at rest, and draws it over time. The clients of the leases,
watches and connections are processes of the lowest priority (-nice). A size of 0 leaves the phases out.

Examples: bench many -leases 100000 -together 20000 -watches 100000 -connections 2000 -svg many.svg
          bench many -leases 0 -together 0 -connections 0
`

// manySettings has the values of the flags of `bench many`.
type manySettings struct {
	long longSettings

	leases      int
	together    int
	watches     int
	streams     int
	connections int
	ttl         time.Duration
	clients     int
}

// manyRun is a run of `bench many`.
type manyRun struct {
	*longRun
	manySettings
}

func parseMany(args []string, help io.Writer) (manySettings, error) {
	var s manySettings
	flags := flag.NewFlagSet("many", flag.ContinueOnError)
	flags.IntVar(&s.leases, "leases", 1_000_000, "leases that are granted, renewed and left to expire")
	flags.IntVar(&s.together, "together", 100_000, "leases that end at the same time")
	flags.IntVar(&s.watches, "watches", 1_000_000, "watches, each of a key of its own; the puts are to these keys")
	flags.IntVar(&s.streams, "streams", 1000, "streams that the watches share, over a tenth as many connections")
	flags.IntVar(&s.connections, "connections", 10_000, "connections")
	flags.DurationVar(&s.ttl, "ttl", 0, "time that the leases last (default 15s, and 1s for each 8,000 leases)")
	flags.IntVar(&s.clients, "clients", 100, "clients that grant and renew leases")
	flags.IntVar(&s.long.valueBytes, "value-size", 256, "bytes per value")
	s.long.keys = 1
	if err := s.long.parse(flags, args, help, manyAbout); err != nil {
		return s, err
	}
	if s.leases < 0 || s.together < 0 || s.watches < 0 || s.streams < 1 || s.connections < 0 || s.clients < 1 || s.ttl < 0 {
		return s, errors.New("many: want sizes that are not negative, and -streams and -clients of at least 1")
	}
	s.long.keys = max(s.watches, 1000)
	return s, nil
}

// lifetime returns the TTL of leases, long enough to grant and renew n of them.
func (s manySettings) lifetime(n int) time.Duration {
	if s.ttl > 0 {
		return s.ttl
	}
	return 15*time.Second + time.Duration(n/8000)*time.Second
}

// runMany runs `bench many`.
func runMany(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parseMany(args, stdout)
	if err != nil {
		return err
	}
	run, err := startLongRun(ctx, "many", s.long, stderr)
	if err != nil {
		return fmt.Errorf("many: %w", err)
	}
	defer run.close()
	m := &manyRun{longRun: run, manySettings: s}
	if err := m.all(ctx); err != nil {
		return fmt.Errorf("many: %w", errors.Join(err, run.write(stdout)))
	}
	m.checkPhases()
	return run.write(stdout)
}

// all runs the phases.
func (m *manyRun) all(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return m.idle(ctx, restPhase) },
		m.leasesLive, m.leasesEndTogether, m.watch, m.connect,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return m.stopPuts()
}

const restPhase = "rest"

// checkPhases compares the puts' p99 in each phase with that at rest.
func (m *manyRun) checkPhases() {
	rest := 0.0
	for _, p := range m.line.Phases(windowsPerPhase) {
		if p.Name == restPhase {
			rest = p.Whole.P99
		} else if rest > 0 {
			m.check(p.Name+": put p99 / at rest", p.Whole.P99/rest, threeDigits, 2, true)
		}
	}
}

// limit returns the flag that limits a workload's requests, which have so many operations each.
func (m *manyRun) limit(perRequest int) []string {
	if m.rate == 0 {
		return nil
	}
	return []string{"-rate", fmt.Sprint(m.rate / float64(perRequest))}
}

// memory returns the server's RSS.
func (m *manyRun) memory() float64 { return float64(m.phases[len(m.phases)-1].RSSBytes) }

// watch opens watches, lets them receive events, and ends them.
func (m *manyRun) watch(ctx context.Context) error {
	if m.watches == 0 {
		return nil
	}
	streams := min(m.streams, m.watches)
	return m.hold(ctx, "watches", m.watches, watchKind, append(m.limit(1), "-keys", strconv.Itoa(m.watches),
		"-clients", strconv.Itoa(streams), "-connections", strconv.Itoa(max(1, streams/10)))...)
}

// connect opens connections, leaves them idle, and closes them.
func (m *manyRun) connect(ctx context.Context) error {
	if m.connections == 0 {
		return nil
	}
	return m.hold(ctx, "connections", m.connections, dialKind, append(m.limit(1), "-total", strconv.Itoa(m.connections))...)
}

// hold runs a workload that keeps n things open, in three phases.
func (m *manyRun) hold(ctx context.Context, what string, n int, kind workloadKind, flags ...string) error {
	before := m.memory()
	b, err := m.background(kind, append(flags, "-hold")...)
	if err != nil {
		return err
	}
	defer b.kill()
	err = m.phase(ctx, what+" opened", uint64(n), func() error {
		_, err := b.wait(ctx)
		return err
	})
	if err != nil {
		return err
	}
	m.note(what+": RSS of the server for each", (m.memory()-before)/float64(n), formatBytes)
	if err := m.idle(ctx, what+" open"); err != nil {
		return err
	}
	return m.phase(ctx, what+" closed", 0, func() error {
		if _, err := b.stop(); err != nil {
			return err
		}
		sleep(ctx, m.phaseLength/2)
		return nil
	})
}
