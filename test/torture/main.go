// Command torture runs clusters of real etcd processes under load, injects faults of every kind,
// and checks the history that the clients recorded.
//
// A run is a sequence of bouts. Each bootstraps a cluster of three or five members, whose peer
// ports are behind proxies. Clients of the official Go library and of the v2 API send every kind of
// request, to single members and to all, and record the responses; watchers watch all keys. One
// fault follows the other, and after each the cluster must recover. In the end all members must
// hold the same keys (HashKV), and package check must find the history legal.
//
// Requests and faults come from a seed, but the timing of the processes does not; so the same seed
// gives the same faults, not the same history. The exit status is 1 when a guarantee was broken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// config has the values of the flags.
type config struct {
	etcd    string
	dir     string
	minutes float64
	bout    time.Duration
	clients int
	pause   time.Duration
	seed    uint64
	only    string
	sizes   string
	clock   bool
	keep    bool
	check   string
	noTmpfs bool
	heal    time.Duration // bounds the time until all members are healthy again after a fault
	attack  string
	// attackPause is between the attacks of one attacker, on the average.
	attackPause time.Duration
	out         io.Writer
}

func main() {
	cfg := &config{out: os.Stdout}
	flag.StringVar(&cfg.etcd, "etcd", "bin/etcd", "the server's `PROGRAM`")
	flag.StringVar(&cfg.dir, "dir", "", "`DIRECTORY` for data, logs and histories (default a temporary one)")
	flag.Float64Var(&cfg.minutes, "minutes", 2, "how long")
	flag.DurationVar(&cfg.bout, "bout", time.Minute, "how long one cluster lives, about")
	flag.IntVar(&cfg.clients, "clients", 3, "clients of all members, beside one of each")
	flag.DurationVar(&cfg.pause, "pause", 20*time.Millisecond, "between a client's requests, on the average")
	flag.Uint64Var(&cfg.seed, "seed", 0, "seed (default the time)")
	flag.StringVar(&cfg.only, "only", "", "faults, separated by commas (default all)")
	flag.StringVar(&cfg.sizes, "sizes", "3,5", "members of the clusters, in turn")
	flag.BoolVar(&cfg.clock, "clock", false, "also step the clock; it is the whole machine's")
	flag.BoolVar(&cfg.keep, "keep", false, "keep the directories of bouts in which nothing was wrong")
	flag.StringVar(&cfg.check, "check", "", "do nothing but check a history `FILE` of an earlier run once more")
	flag.DurationVar(&cfg.heal, "heal", 2*time.Minute, "time until all members are healthy again after a fault; more on a busy machine")
	flag.StringVar(&cfg.attack, "attack", "", "attacks beside the clients: peer, requests, or both, separated by a comma (default none)")
	flag.DurationVar(&cfg.attackPause, "attack-pause", 10*time.Millisecond, "between an attacker's attacks, on the average")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := torture(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}

// order returns the faults of a bout, shuffled.
func (c *config) order(rng *rand.Rand) (order []fault) {
	for _, f := range faults {
		if c.only == "" || strings.Contains(","+c.only+",", ","+f.name+",") {
			order = append(order, f)
		}
	}
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

func torture(ctx context.Context, cfg *config) (err error) {
	if cfg.check != "" {
		return recheck(cfg.out, cfg.check)
	}
	if cfg.etcd, err = filepath.Abs(cfg.etcd); err != nil {
		return err
	}
	if cfg.dir == "" {
		if cfg.dir, err = os.MkdirTemp("", "cairn-torture-"); err != nil {
			return err
		}
	}
	if cfg.seed == 0 {
		cfg.seed = uint64(time.Now().UnixNano())
	}
	if len(cfg.order(newRand(0, 0))) == 0 {
		return fmt.Errorf("-only %q: no such fault", cfg.only)
	}
	for _, g := range cfg.groups() {
		if attacks[g] == nil {
			return fmt.Errorf("-attack %q: want peer or requests", g)
		}
	}
	var sizes []int
	for _, text := range strings.Split(cfg.sizes, ",") {
		n := 0
		if _, err := fmt.Sscan(text, &n); err != nil || n < 3 || n > 9 {
			return fmt.Errorf("-sizes %q: want numbers from 3 to 9", cfg.sizes)
		}
		sizes = append(sizes, n)
	}
	fmt.Fprintf(cfg.out, "%s %s, seed %d, in %s\n", stamp(), cfg.etcd, cfg.seed, cfg.dir)
	r := newReport()
	end := time.Now().Add(time.Duration(cfg.minutes * float64(time.Minute)))
	broken := 0
	for n := 1; time.Now().Before(end) && ctx.Err() == nil; n++ {
		seed := cfg.seed + uint64(n-1)
		b := &bout{cfg: cfg, report: r, number: n, size: sizes[(n-1)%len(sizes)], seed: seed, rng: newRand(seed, 0)}
		until := time.Now().Add(cfg.bout)
		if until.After(end) {
			until = end
		}
		if runErr := b.run(ctx, until); runErr != nil && !errors.Is(runErr, context.Canceled) {
			err = errors.Join(err, runErr)
			fmt.Fprintln(cfg.out, stamp(), "FAILED:", runErr)
		}
		broken += len(b.failed)
	}
	r.print(cfg.out)
	if err == nil && broken == 0 {
		return os.RemoveAll(cfg.dir)
	}
	if broken > 0 {
		err = errors.Join(err, fmt.Errorf("%d violations; see %s", broken, cfg.dir))
	}
	return err
}
