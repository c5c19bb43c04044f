package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// longSettings has the values of the flags that `bench large` and `bench many` share.
type longSettings struct {
	program     program
	dir         string
	svg         string
	output      string
	phaseLength time.Duration // of a phase that has no end by itself
	keys        int
	valueBytes  int
	putRate     float64
	putClients  int
	rate        float64 // operations of the other work, per second; 0: no limit
	nice        int     // added to the nice value of the processes of the other work
}

func (s *longSettings) register(flags *flag.FlagSet, serverArgs *string) {
	flags.StringVar(&s.program.path, "server", "bin/etcd", "`path` of the server to start")
	flags.StringVar(serverArgs, "server-args", "", "further `flags` for the server, separated by spaces")
	flags.StringVar(&s.dir, "dir", os.TempDir(), "`directory` on a real disk, in which the server gets its own")
	flags.StringVar(&s.svg, "svg", "", "`file` to draw the plot into")
	flags.StringVar(&s.output, "o", "text", "`format` of the tables: text, markdown or json")
	flags.DurationVar(&s.phaseLength, "phase", 10*time.Second, "length of a phase that does not end by itself")
	flags.Float64Var(&s.putRate, "put-rate", 500, "puts per second whose latency is measured, beside all other work")
	flags.IntVar(&s.putClients, "put-clients", 50, "clients that make those puts, each with a connection of its own up to 10")
	flags.Float64Var(&s.rate, "rate", 0, "limit of the other work's operations per second; 0: as many as the server takes")
	flags.IntVar(&s.nice, "nice", 19, "added to the nice value of the other work's processes; 19 starves them while other programs use all processors")
}

// parse parses the flags of a long run, and checks those that both have.
func (s *longSettings) parse(flags *flag.FlagSet, args []string, help io.Writer, about string) error {
	var serverArgs string
	s.register(flags, &serverArgs)
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(help, "%s\nFlags:\n", about)
		flags.SetOutput(help)
		flags.PrintDefaults()
		return err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", flags.Name(), err)
	}
	// Neither a quota nor a compaction may end what the run is about.
	s.program.args = append([]string{"--auto-compaction-retention=0"}, strings.Fields(serverArgs)...)
	s.program.quota = 1 << 40
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("%s: unexpected argument %q: use flags (see `bench %s -h`)", flags.Name(), flags.Arg(0), flags.Name())
	case s.phaseLength <= 0 || s.putRate <= 0 || s.putClients < 1 || s.rate < 0 || s.keys < 1 || s.valueBytes < 0:
		return fmt.Errorf("%s: want positive numbers", flags.Name())
	case s.nice < 0 || s.nice > 19:
		return fmt.Errorf("%s: -nice %d: want 0 to 19", flags.Name(), s.nice)
	case s.output != "text" && s.output != "markdown" && s.output != "json":
		return fmt.Errorf("%s: -o %q: want text, markdown or json", flags.Name(), s.output)
	}
	if _, err := s.program.version(); err != nil {
		return fmt.Errorf("%s: -server: %w", flags.Name(), err)
	}
	return nil
}

// putSettings returns the settings of the puts whose latency is measured.
func (s *longSettings) putSettings() settings {
	p := defaultSettings()
	p.keys, p.valueBytes = s.keys, s.valueBytes
	p.rate, p.clients, p.connections = s.putRate, s.putClients, min(s.putClients, 10)
	return p
}

// size is a flag.Value: bytes, with a unit or without.
type size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

// String implements flag.Value.
func (s *size) String() string {
	for _, unit := range sizeUnits {
		if n := int64(*s); n >= unit.bytes && n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.suffix
		}
	}
	return "0"
}

// Set implements flag.Value.
func (s *size) Set(text string) error {
	for _, unit := range sizeUnits {
		number, ok := strings.CutSuffix(text, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || n < 0 {
			break
		}
		*s = size(n * float64(unit.bytes))
		return nil
	}
	return errors.New("want a number of bytes, such as 500MiB or 30GiB")
}
