package config

import (
	"fmt"
	"strconv"
	"time"
)

// Proxy configures a process that is a proxy in front of a cluster instead of a member.
type Proxy struct {
	Mode            ProxyMode
	RefreshInterval time.Duration // interval of refreshing the list of members
	FailureWait     time.Duration // how long a failed member is not used
	DialTimeout     time.Duration
	WriteTimeout    time.Duration // of one write; 0 means none
	ReadTimeout     time.Duration // of one read; 0 means none
}

// ProxyMode is a value of --proxy.
type ProxyMode string

// The modes of --proxy.
const (
	ProxyOff      ProxyMode = "off"
	ProxyOn       ProxyMode = "on"
	ProxyReadOnly ProxyMode = "readonly"
)

func proxyDefaults() Proxy {
	return Proxy{
		Mode: ProxyOff, RefreshInterval: 30 * time.Second, FailureWait: 5 * time.Second, DialTimeout: time.Second, WriteTimeout: 5 * time.Second,
	}
}

// proxyOptions are the flags of Proxy.
var proxyOptions = []option{
	{
		"proxy", "Proxy", "off|on|readonly", "off", "be a proxy that forwards clients of both APIs to the members, and finds these by --initial-cluster, --discovery, --discovery-token or --discovery-srv; readonly refuses writes",
		func(c *Config, v string) error {
			return setChoice(&c.Proxy.Mode, v, ProxyOff, ProxyOn, ProxyReadOnly)
		},
	},
	{
		"proxy-failure-wait", "Proxy", "MS", "5000", "milliseconds until a member that has failed gets requests again",
		func(c *Config, v string) error { return setMillisecondsAbove0(&c.Proxy.FailureWait, v) },
	},
	{
		"proxy-refresh-interval", "Proxy", "MS", "30000", "milliseconds between two looks for members that were added or removed",
		func(c *Config, v string) error { return setMillisecondsAbove0(&c.Proxy.RefreshInterval, v) },
	},
	{
		"proxy-dial-timeout", "Proxy", "MS", "1000", "milliseconds for connecting to a member",
		func(c *Config, v string) error { return setMillisecondsAbove0(&c.Proxy.DialTimeout, v) },
	},
	{
		"proxy-write-timeout", "Proxy", "MS", "5000", "milliseconds for a write to a member; 0 is no limit",
		func(c *Config, v string) error { return setMilliseconds(&c.Proxy.WriteTimeout, v) },
	},
	{
		"proxy-read-timeout", "Proxy", "MS", "0", "milliseconds for a read from a member; 0 is no limit, and long polls need it",
		func(c *Config, v string) error { return setMilliseconds(&c.Proxy.ReadTimeout, v) },
	},
}

func setMillisecondsAbove0(to *time.Duration, v string) error {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a number of milliseconds: want a whole number without a unit, 1 or more", v)
	}
	*to = time.Duration(n) * time.Millisecond
	return nil
}
