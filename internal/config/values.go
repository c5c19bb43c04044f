package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The set functions read one value each. Their errors say what is wanted; the caller puts the
// setting's name before them.

func errorAt(source string, err error) error { return fmt.Errorf("%s: %w", source, err) }

func setText(to *string, v string) error {
	if v == "" {
		return errors.New("is empty: give it a value or leave it out")
	}
	*to = v
	return nil
}

// setName refuses what could not be written into --initial-cluster.
func setName(to *string, v string) error {
	if strings.ContainsAny(v, ",=") {
		return fmt.Errorf("%q has a comma or an equals sign, which --initial-cluster could not hold: want another name", v)
	}
	return setText(to, v)
}

func setBool(to *bool, v string) error {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", v)
	}
	*to = b
	return nil
}

func isTrue(v string) bool {
	b, err := strconv.ParseBool(v)
	return err == nil && b
}

func setInt(to *int64, v string) error {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a whole number", v)
	}
	*to = n
	return nil
}

// setCount reads a number of which 0 asks for the default, as in etcd.
func setCount(to *uint64, v string, preset uint64) error {
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil {
		return fmt.Errorf("%q is not a number: want 0 or more", v)
	}
	if n == 0 {
		n = preset
	}
	*to = n
	return nil
}

func setPositive(to *uint64, v string) error {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a number from 1 to %d", v, 1<<31-1)
	}
	*to = n
	return nil
}

// setMilliseconds reads a whole number; the flags have no unit in etcd, so "100ms" is refused there
// and here.
func setMilliseconds(to *time.Duration, v string) error {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return fmt.Errorf("%q is not a number of milliseconds: want a whole number without a unit, for example 100", v)
	}
	*to = time.Duration(n) * time.Millisecond
	return nil
}

// setDuration reads a length of time with its unit, as Go writes it.
func setDuration(to *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not a length of time such as 30s or 10m", v)
	}
	*to = d
	return nil
}

// setKeepalive is setDuration for flags of which 0 means what gRPC itself does.
func setKeepalive(to *time.Duration, v string) error {
	if d, err := time.ParseDuration(v); err == nil && d == 0 {
		*to = 0
		return nil
	}
	return setDuration(to, v)
}

// setStreams reads a number of streams, of which 0 makes no sense.
func setStreams(to *uint32, v string) error {
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a number from 1 to %d", v, uint32(1<<32-1))
	}
	*to = uint32(n)
	return nil
}

// setNames reads a list that may be empty.
func setNames(to *[]string, v string) error {
	*to = nil
	for _, name := range strings.Split(v, ",") {
		if name = strings.TrimSpace(name); name != "" {
			*to = append(*to, name)
		}
	}
	return nil
}

// setOrigins reads what browsers send as Origin. An origin has no path, so one that is given with a
// path would never match.
func setOrigins(to *[]string, v string) error {
	var origins []string
	if err := setNames(&origins, v); err != nil {
		return err
	}
	for _, o := range origins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Host == "" || u.Scheme == "" || o != u.Scheme+"://"+u.Host) {
			return fmt.Errorf("%q is not an origin: want http://HOST[:PORT], https://HOST[:PORT] or *", o)
		}
	}
	*to = origins
	return nil
}

// setInterval is setDuration for what may be turned off by a 0.
func setInterval(to *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a length of time such as 30s or 10m, nor 0", v)
	}
	*to = d
	return nil
}

func setChoice[T ~string](to *T, v string, choices ...T) error {
	if !slices.Contains(choices, T(v)) {
		quoted := make([]string, len(choices))
		for i, c := range choices {
			quoted[i] = strconv.Quote(string(c))
		}
		return fmt.Errorf("%q is not known: want %s", v, strings.Join(quoted, " or "))
	}
	*to = T(v)
	return nil
}

// levels are etcd's names too, of which panic and fatal let nothing but errors through here.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	"panic": slog.LevelError, "fatal": slog.LevelError,
}

func setLevel(to *slog.Level, v string) error {
	level, ok := levels[v]
	if !ok {
		return fmt.Errorf("%q is not known: want debug, info, warn or error", v)
	}
	*to = level
	return nil
}

func setOutputs(to *[]string, v string) error {
	var outputs []string
	for _, o := range strings.Split(v, ",") {
		// etcd's name for the standard error outside systemd's journal
		if o = strings.TrimSpace(o); o == "default" {
			o = "stderr"
		}
		switch {
		case strings.HasPrefix(o, "systemd/"):
			return fmt.Errorf("%q is not supported by this version of cairn: systemd's journal takes what is written to stderr", o)
		case o != "" && !slices.Contains(outputs, o):
			outputs = append(outputs, o)
		}
	}
	if len(outputs) == 0 {
		return errors.New("is empty: want stderr, stdout or a file")
	}
	*to = outputs
	return nil
}

// parseRetention reads --auto-compaction-retention by the rules of the mode.
func parseRetention(mode, v string) (a AutoCompaction, err error) {
	switch mode {
	case "revision":
		if a.Revisions, err = strconv.ParseInt(v, 10, 64); err != nil || a.Revisions < 0 {
			return AutoCompaction{}, fmt.Errorf("%q is not a number of revisions, which --auto-compaction-mode=revision takes: want for example 10000, or 0 to keep all", v)
		}
		return a, nil
	case "periodic":
		if hours, err := strconv.ParseUint(v, 10, 20); err == nil {
			return AutoCompaction{Period: time.Duration(hours) * time.Hour}, nil
		}
		if a.Period, err = time.ParseDuration(v); err != nil || a.Period < 0 {
			return AutoCompaction{}, fmt.Errorf("%q is neither a duration nor a number of hours: want for example 30m, 1h or 24, or 0 to keep all", v)
		}
		return a, nil
	}
	return a, fmt.Errorf("%q is not known: want \"periodic\" or \"revision\"", mode)
}
