package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"cairn/test/process"
)

var (
	p99AtRest        = metric{"put p99, no handshakes", formatMicros}
	p99Handshakes    = metric{"put p99, 1,000 handshakes/s", formatMicros}
	p99Ratio         = metric{"p99, with/without", threeDigits}
	handshakeRate    = metric{"handshakes", perSecond}
	cpuPerHandshake  = metric{"CPU per handshake", formatMicros}
	handshakeTargets = map[string]goal{p99Ratio.name: {oursBelow: 1.5}, cpuPerHandshake.name: {atMost: 1}}
)

const (
	handshakesPerSecond = 1000
	handshakers         = 32   // connections that are being made at the same time
	handshakePuts       = 1000 // per second, beside the handshakes
)

// handshakes measures paced puts without and with clients that connect over and over.
var handshakes = scenario{
	name: "handshakes", summary: "1,000 puts a second, without and with 1,000 handshakes a second of other clients",
	metrics: []metric{p99AtRest, p99Handshakes, p99Ratio, handshakeRate, cpuPerHandshake},
	goals:   handshakeTargets,
	run:     runHandshakes,
}

func runHandshakes(ctx context.Context, t *trial) (sample, error) {
	puts := func() (*report, error) {
		s := t.settings(putKind)
		s.connections, s.clients, s.rate = 10, 50, handshakePuts
		s.keys = t.scale.keys(s.keys)
		s.duration, s.warmup = t.duration, t.warmup
		return t.measure(ctx, putKind, s)
	}
	rest, err := puts()
	if err != nil {
		return nil, err
	}
	storm, err := startStorm(t.server)
	if err != nil {
		return nil, err
	}
	loaded, err := puts()
	connected, failed := storm.stop()
	if err == nil && failed != nil {
		err = fmt.Errorf("handshakes: %w", failed)
	}
	if err != nil {
		return nil, err
	}
	return sample{
		p99AtRest.name:       rest.Latency.P99,
		p99Handshakes.name:   loaded.Latency.P99,
		p99Ratio.name:        loaded.Latency.P99 / rest.Latency.P99,
		handshakeRate.name:   connected.RequestsPerSecond,
		cpuPerHandshake.name: (loaded.Server.Cores - rest.Server.Cores) / connected.RequestsPerSecond * 1e6,
	}, nil
}

// storm is a process that connects and disconnects: `bench connect` of the lowest priority. In this
// process, or of its priority, its own handshakes would delay the puts that are measured; on a real
// network the clients that connect have processors of their own.
type storm struct {
	process     *process.Process
	out, failed bytes.Buffer
}

// startStorm makes handshakesPerSecond connections to a server, or as many as it takes.
func startStorm(to *server) (*storm, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	files, clients := to.files(), strconv.Itoa(handshakers)
	s := &storm{}
	cmd := exec.Command("nice", "-n", "19", self, connectKind.name, "-endpoints", to.scheme()+"://"+to.client,
		"-cacert", files.ca, "-cert", files.cert, "-key", files.key, "-clients", clients, "-connections", clients,
		"-rate", strconv.Itoa(handshakesPerSecond), "-duration", "24h", "-o", "json")
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(), &s.out, &s.failed
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.process, err = process.Start(cmd); err != nil {
		return nil, fmt.Errorf("start bench %s: %w", connectKind.name, err)
	}
	return s, nil
}

// stop ends the process and returns its report.
func (s *storm) stop() (*report, error) {
	_ = s.process.Signal(os.Interrupt) // a process that cannot be signalled has ended
	<-s.process.Exited()
	var r report
	err := json.Unmarshal(s.out.Bytes(), &r)
	switch {
	case err != nil:
		return nil, errors.Join(errors.New(s.process.State().String()), errors.New(s.failed.String()), err)
	case r.Errors.Total > 0:
		return nil, fmt.Errorf("%d of %d ended in errors, such as: %s", r.Errors.Total, r.Errors.Total+r.Requests, r.Errors.Texts[0].Text)
	case r.Requests == 0:
		return nil, errors.New("none was completed")
	}
	return &r, nil
}
