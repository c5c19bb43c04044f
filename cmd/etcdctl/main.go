// Command etcdctl reads, writes and watches keys, and administers a cluster, over the v2 API and
// the v3 API.
//
// It only runs what package program assembles.
package main

import (
	"context"
	"os"

	"cairn/cmd/etcdctl/internal/program"
)

func main() { os.Exit(run()) }

// run runs the command line of this process and returns its exit code.
func run() int { return program.New().Run(context.Background(), os.Args[1:]) }
