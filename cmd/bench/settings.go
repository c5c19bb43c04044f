package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"
)

// settings has the checked values of a workload's flags.
type settings struct {
	endpoints []endpoint
	tls       tlsFiles
	// fail when no request succeeded for this long, with some in flight
	patience time.Duration

	connections int
	clients     int

	keys       int
	keyBytes   int
	valueBytes int
	prefix     string
	sequential bool
	seed       uint64

	total    int           // measured requests; 0 means as many as duration allows
	duration time.Duration // 0 means until total
	warmup   time.Duration
	rate     float64 // requests per second over all clients; 0 means no limit

	serializable bool
	limit        int
	start        string
	reads        float64
	batch        int
	scatter      bool
	ops          int
	firstLease   int64
	ttl          int64 // seconds, of leases
	together     bool
	hold         bool // stay connected after the report until interrupted
	ticks        bool // report the number of requests while they run

	user string // v2: NAME:PASSWORD of every request; "" means none

	pid    int
	output string
}

// endpoint is one address of the server.
type endpoint struct {
	scheme  string // http or https
	address string // host:port
}

type tlsFiles struct {
	ca, cert, key string
	skipVerify    bool
}

// load makes the client's TLS configuration from the files.
func (f tlsFiles) load() (*tls.Config, error) {
	// only if the user requests it
	config := &tls.Config{InsecureSkipVerify: f.skipVerify} //nolint:gosec
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("read -cacert: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("-cacert %s: no PEM certificate in it", f.ca)
		}
	}
	if f.cert != "" || f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("load -cert and -key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// defaultSettings returns the settings before a workload's own defaults and the flags.
func defaultSettings() settings {
	return settings{
		endpoints:   []endpoint{{"http", "127.0.0.1:2379"}},
		patience:    30 * time.Second,
		connections: 1,
		clients:     1,
		keys:        100_000,
		keyBytes:    32,
		valueBytes:  256,
		prefix:      "/bench/",
		seed:        1,
		limit:       1000,
		start:       "first",
		reads:       0.9,
		batch:       128,
		ops:         4,
		firstLease:  1 << 40,
		ttl:         keepAliveTTL,
		output:      "text",
	}
}

// parseSettings parses a workload's flags. It uses the standard flag package, not pflag, because
// that accepts -total and --total alike, as Go's own benchmarks do.
func parseSettings(kind workloadKind, args []string, help io.Writer) (settings, error) {
	s := defaultSettings()
	if kind.defaults != nil {
		kind.defaults(&s)
	}
	flags := flag.NewFlagSet(kind.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	endpoints := flags.String("endpoints", "http://127.0.0.1:2379", "`URLs` of the server, comma-separated; connections are distributed over them")
	order := flags.String("order", "random", "`order` in which keys are used: random or sequential")
	s.registerCommon(flags)
	if kind.flags != nil {
		kind.flags(&s, flags)
	}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(help, "bench %s: %s\n\nExample: %s\n\nFlags:\n", kind.name, kind.summary, kind.example)
		flags.SetOutput(help)
		flags.PrintDefaults()
		return s, err
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w", kind.name, err)
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%s: unexpected argument %q: use flags (see `bench %s -h`)", kind.name, flags.Arg(0), kind.name)
	}
	if s.endpoints, err = parseEndpoints(*endpoints); err != nil {
		return s, fmt.Errorf("-endpoints: %w", err)
	}
	switch *order {
	case "random":
	case "sequential":
		s.sequential = true
	default:
		return s, fmt.Errorf("-order %q: want random or sequential", *order)
	}
	if s.total == 0 && s.duration == 0 && !kind.finite {
		s.duration = 10 * time.Second
	}
	return s, s.check()
}

func (s *settings) registerCommon(flags *flag.FlagSet) {
	flags.IntVar(&s.connections, "connections", s.connections, "TCP connections")
	flags.IntVar(&s.clients, "clients", s.clients, "clients, each with one request in flight, distributed over the connections\n(v2: HTTP/1.1 carries one request per connection, so more clients than connections take turns)")
	flags.IntVar(&s.keys, "keys", s.keys, "size of the key space")
	flags.IntVar(&s.keyBytes, "key-size", s.keyBytes, "bytes per key")
	flags.IntVar(&s.valueBytes, "value-size", s.valueBytes, "bytes per value, printable and not compressible by repetition")
	flags.StringVar(&s.prefix, "prefix", s.prefix, "prefix of every key")
	flags.Uint64Var(&s.seed, "seed", s.seed, "seed of the choice of keys and values")
	flags.IntVar(&s.total, "total", s.total, "requests to measure; 0: as many as -duration holds")
	flags.DurationVar(&s.duration, "duration", s.duration, "time to measure (default 10s where no -total is given)")
	flags.DurationVar(&s.warmup, "warmup", s.warmup, "time to run before measuring")
	flags.Float64Var(&s.rate, "rate", s.rate, "requests per second over all clients; latency then counts from when a request was due; 0: no limit")
	flags.DurationVar(&s.patience, "patience", s.patience, "stop when no request succeeded for this long")
	flags.IntVar(&s.pid, "pid", s.pid, "PID of the server on this machine: report its CPU per request and memory")
	flags.BoolVar(&s.ticks, "ticks", false, "every 100ms, print how many requests have completed as a line of JSON before the report")
	flags.StringVar(&s.output, "o", s.output, "`format` of the report: text or json")
	flags.StringVar(&s.tls.ca, "cacert", "", "CA `file` to verify https endpoints with")
	flags.StringVar(&s.tls.cert, "cert", "", "client certificate `file`")
	flags.StringVar(&s.tls.key, "key", "", "client key `file`")
	flags.BoolVar(&s.tls.skipVerify, "insecure-skip-tls-verify", false, "accept any server certificate")
}

// check rejects impossible numbers.
func (s *settings) check() error {
	positive := []struct {
		flag  string
		value int
	}{{"connections", s.connections}, {"clients", s.clients}, {"keys", s.keys}, {"limit", s.limit}, {"batch", s.batch}, {"ops", s.ops}}
	for _, p := range positive {
		if p.value < 1 {
			return fmt.Errorf("-%s %d: want at least 1", p.flag, p.value)
		}
	}
	switch {
	case s.connections > s.clients:
		return fmt.Errorf("-connections %d with -clients %d: some connections would stay unused: want at least as many clients", s.connections, s.clients)
	case s.valueBytes < 0 || s.total < 0 || s.duration < 0 || s.warmup < 0 || s.rate < 0:
		return errors.New("-value-size, -total, -duration, -warmup and -rate must not be negative")
	case s.patience <= 0:
		return fmt.Errorf("-patience %v: want more than 0", s.patience)
	case s.ttl < 1 || s.firstLease < 1:
		return errors.New("want a -ttl and a -first-lease of at least 1")
	case s.reads < 0 || s.reads > 1:
		return fmt.Errorf("-reads %v: want a share between 0 and 1", s.reads)
	case s.start != "first" && s.start != "random":
		return fmt.Errorf("-start %q: want first or random", s.start)
	case s.output != "text" && s.output != "json":
		return fmt.Errorf("-o %q: want text or json", s.output)
	}
	return nil
}

// parseEndpoints parses a comma-separated list of http(s)://host:port; the scheme is optional.
func parseEndpoints(list string) ([]endpoint, error) {
	var endpoints []endpoint
	for item := range strings.SplitSeq(list, ",") {
		if !strings.Contains(item, "://") {
			item = "http://" + item
		}
		u, err := url.Parse(item)
		if err != nil {
			return nil, err
		}
		if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("%q: want http://HOST:PORT or https://HOST:PORT", item)
		}
		endpoints = append(endpoints, endpoint{u.Scheme, u.Host})
	}
	return endpoints, nil
}
