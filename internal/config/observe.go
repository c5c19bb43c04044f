package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// Tracing is how spans of requests are sent to a collector.
type Tracing struct {
	Enabled           bool
	Address           string // of the collector, HOST:PORT
	ServiceName       string
	InstanceID        string // "" for none
	SamplesPerMillion int    // of requests that their clients do not record
}

const (
	defaultTracingAddress = "localhost:4317"
	defaultTracingService = "etcd"
	defaultSlowApply      = 100 * time.Millisecond
	defaultSlowRequest    = 300 * time.Millisecond
	// raftTimeoutMin is etcd's, and the default: shorter time-outs would close connections on which
	// nothing is wrong.
	raftTimeoutMin = 5 * time.Second
)

// observeOptions are about what is logged and sent about single requests.
var observeOptions = []option{
	{
		"warning-apply-duration", "Monitoring", "TIME", "100ms", "duration above which applying a batch, or reading a range, is logged",
		func(c *Config, v string) error { return setInterval(&c.SlowApply, v) },
	},
	{
		"warning-unary-request-duration", "Monitoring", "TIME", "300ms", "duration above which a gRPC request is logged",
		func(c *Config, v string) error { return setInterval(&c.SlowRequest, v) },
	},
	{
		"enable-distributed-tracing", "Monitoring", "", "false", "send spans of requests to a collector of OpenTelemetry, by OTLP over gRPC",
		func(c *Config, v string) error { return setBool(&c.Tracing.Enabled, v) },
	},
	{
		"distributed-tracing-address", "Monitoring", "HOST:PORT", defaultTracingAddress, "address of the collector",
		func(c *Config, v string) error { return setText(&c.Tracing.Address, v) },
	},
	{
		"distributed-tracing-service-name", "Monitoring", "NAME", defaultTracingService, "service name of the spans; the same for all members",
		func(c *Config, v string) error { return setText(&c.Tracing.ServiceName, v) },
	},
	{
		"distributed-tracing-instance-id", "Monitoring", "ID", "", "instance ID of the spans; a different one for each member",
		func(c *Config, v string) error { c.Tracing.InstanceID = v; return nil },
	},
	{
		"distributed-tracing-sampling-rate", "Monitoring", "N", "0", "requests of a million that are traced, besides those that their clients trace",
		func(c *Config, v string) error { return setSamples(&c.Tracing.SamplesPerMillion, v) },
	},
	{
		"raft-read-timeout", "Member", "TIME", "5s", "silence of another member after which its connection is closed; at least 5s",
		func(c *Config, v string) error { return setRaftTimeout(&c.RaftReadTimeout, v) },
	},
	{
		"raft-write-timeout", "Member", "TIME", "5s", "time for a write to another member, after which its connection is closed; at least 5s",
		func(c *Config, v string) error { return setRaftTimeout(&c.RaftWriteTimeout, v) },
	},
	{
		"set-member-localaddr", "Member", "", "false", "connect to other members from the first IP address of --initial-advertise-peer-urls that is not a loopback address",
		func(c *Config, v string) error { return setBool(&c.SetMemberLocalAddr, v) },
	},
}

const samplesMax = 1_000_000

func setSamples(to *int, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > samplesMax {
		return fmt.Errorf("%q is not a number from 0 to %d", v, samplesMax)
	}
	*to = n
	return nil
}

// setRaftTimeout raises a time that is too short, as etcd does.
func setRaftTimeout(to *time.Duration, v string) error {
	if err := setInterval(to, v); err != nil {
		return err
	}
	*to = max(*to, raftTimeoutMin)
	return nil
}

// MemberLocalIP returns the address that connections to other members are made from, or the zero
// address if the system chooses.
func (c *Config) MemberLocalIP() netip.Addr {
	if !c.SetMemberLocalAddr {
		return netip.Addr{}
	}
	for _, u := range c.InitialAdvertisePeerURLs {
		if ip, err := netip.ParseAddr(u.host()); err == nil && !ip.IsLoopback() && !ip.IsUnspecified() {
			return ip.Unmap()
		}
	}
	return netip.Addr{}
}
