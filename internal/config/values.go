package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Each set function parses one value. Their errors describe what is wanted; the caller prepends the
// setting's name.

func errorAt(source string, err error) error { return fmt.Errorf("%s: %w", source, err) }

func setText(to *string, v string) error {
	if v == "" {
		return errors.New("is empty: give it a value or leave it out")
	}
	*to = v
	return nil
}

// setName refuses names that --initial-cluster cannot hold.
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

// JournalOutput is the value of --log-outputs for systemd's journal.
const JournalOutput = "systemd/journal"

// byteUnits are the units of numbers of bytes.
var byteUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"Ki", 1 << 10},
	{"Mi", 1 << 20},
	{"Gi", 1 << 30},
	{"Ti", 1 << 40},
	{"K", 1e3},
	{"M", 1e6},
	{"G", 1e9},
	{"T", 1e12},
	{"B", 1},
}

// setBytes parses a number of bytes, with or without a unit.
func setBytes(to *int64, v string) error {
	digits, factor := v, int64(1)
	for _, u := range byteUnits {
		if len(v) > len(u.name) && strings.EqualFold(v[len(v)-len(u.name):], u.name) {
			digits, factor = strings.TrimSpace(v[:len(v)-len(u.name)]), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/factor || n < math.MinInt64/factor {
		return fmt.Errorf("%q is not a number of bytes: want for example 2147483648, 2GB or 2GiB", v)
	}
	*to = n * factor
	return nil
}

// setPositiveBytes is setBytes for sizes of memory.
func setPositiveBytes(to *uint64, v string) error {
	var n int64
	if err := setBytes(&n, v); err != nil {
		return err
	}
	if n <= 0 || n > 1<<31-1 {
		return fmt.Errorf("%q is not a number of bytes from 1 to %d", v, 1<<31-1)
	}
	*to = uint64(n)
	return nil
}

// The limits of --watch-progress-notify-interval are etcd's: 0 means the default, and a value below
// the minimum means the minimum.
const (
	progressInterval    = 10 * time.Minute
	progressIntervalMin = 100 * time.Millisecond
)

func setProgressInterval(to *time.Duration, v string) error {
	if err := setInterval(to, v); err != nil {
		return err
	}
	switch {
	case *to == 0:
		*to = progressInterval
	case *to < progressIntervalMin:
		*to = progressIntervalMin
	}
	return nil
}

const defaultRotation = `{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}`

// completeRotation parses --log-rotation-config-json, which applies only with
// --enable-log-rotation.
func (c *Config) completeRotation(chosen map[string]setting) error {
	isFile := func(o string) bool { return o != "stderr" && o != "stdout" && o != JournalOutput }
	if c.LogRotation != nil && !slices.ContainsFunc(c.LogOutputs, isFile) {
		return errors.New("--enable-log-rotation: --log-outputs names no file: name one, or leave --enable-log-rotation out")
	}
	s, given := chosen["log-rotation-config-json"]
	if !given || s.value == "" {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(s.value))
	decoder.DisallowUnknownFields()
	var r LogRotation
	err := decoder.Decode(&r)
	if err == nil && decoder.More() {
		err = errors.New("text after the end")
	}
	switch {
	case err != nil:
		return s.wrap(fmt.Errorf("%q is not a rotation: %w: want for example %s", s.value, err, defaultRotation))
	case r.MaxSizeMB < 0 || r.MaxAgeDays < 0 || r.MaxBackups < 0:
		return s.wrap(fmt.Errorf("%q has a number below 0", s.value))
	case c.LogRotation != nil:
		c.LogRotation = &r
	}
	return nil
}

// setCount parses a number; 0 means the default, as in etcd.
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

// setMilliseconds parses a whole number; the flags have no unit in etcd, so "100ms" is refused
// there and here.
func setMilliseconds(to *time.Duration, v string) error {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return fmt.Errorf("%q is not a number of milliseconds: want a whole number without a unit, for example 100", v)
	}
	*to = time.Duration(n) * time.Millisecond
	return nil
}

// setDuration parses a duration with its unit, in Go's form.
func setDuration(to *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not a length of time such as 30s or 10m", v)
	}
	*to = d
	return nil
}

// setKeepalive is setDuration for flags whose value 0 means gRPC's default.
func setKeepalive(to *time.Duration, v string) error {
	if d, err := time.ParseDuration(v); err == nil && d == 0 {
		*to = 0
		return nil
	}
	return setDuration(to, v)
}

// setStreams parses a number of streams, which must not be 0.
func setStreams(to *uint32, v string) error {
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a number from 1 to %d", v, uint32(1<<32-1))
	}
	*to = uint32(n)
	return nil
}

// setNames parses a list that may be empty.
func setNames(to *[]string, v string) error {
	*to = nil
	for _, name := range strings.Split(v, ",") {
		if name = strings.TrimSpace(name); name != "" {
			*to = append(*to, name)
		}
	}
	return nil
}

// setOrigins parses values of the header Origin. An origin has no path, so one with a path would
// never match.
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

// setInterval is setDuration for intervals whose value 0 disables the function.
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

// levels are etcd's names; panic and fatal log only errors here.
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
		case strings.HasPrefix(o, "systemd/") && o != JournalOutput:
			return fmt.Errorf("%q is not known: want %s, stderr, stdout or a file", o, JournalOutput)
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

// parseRetention parses --auto-compaction-retention by the rules of the mode.
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
