// Package version owns the version numbers: the level of etcd's API that cairn serves and cairn's
// own.
//
// It does not own how a cluster agrees on a version (membership does). Its values never change
// while a program runs, so all functions may be called from any goroutine.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

const (
	// API is the version of etcd whose API is served. Clients parse it (X.Y.Z, nothing after it),
	// so it is sent unchanged: in /version, in the Status RPC and in the first line of `etcd
	// --version`.
	API = "3.7.1"
	// Cluster is the version of a cluster of such members: the minor version of API.
	Cluster = "3.7.0"
	// Cairn is the version of this program.
	Cairn = "0.1.0"
)

// Minor is Cluster in the form of log lines such as `set the initial cluster version`: without the
// patch level.
const Minor = "3.7"

// noRevision is shown for a build outside a checkout. It is one word, because scripts split the
// line at blanks.
const noRevision = "unknown"

// revisionLength is the number of shown digits of a commit's hash, as in etcd.
const revisionLength = 7

// GitSHA is the abbreviated commit that the program was built from, with "-dirty" when the checkout
// had changes, or "unknown" when the build did not know it (go run, a test, a build outside a
// checkout).
func GitSHA() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return noRevision
	}
	return gitSHA(info.Settings)
}

// commit is what `make build` sets in a worktree, which Go does not recognise as a checkout.
var commit string

func gitSHA(settings []debug.BuildSetting) string {
	revision, dirty := "", false
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if revision == "" {
		return cmp.Or(commit, noRevision)
	}
	revision = revision[:min(revisionLength, len(revision))]
	if dirty {
		revision += "-dirty"
	}
	return revision
}

// Go is the version of Go that built the program.
func Go() string { return runtime.Version() }

// Platform is the operating system and architecture, as in linux/amd64.
func Platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// Text returns the output of `etcd --version`: etcd's four lines, which scripts read, and cairn's
// own version below them.
func Text() string {
	return fmt.Sprintf("etcd Version: %s\nGit SHA: %s\nGo Version: %s\nGo OS/Arch: %s\nCairn Version: %s\n",
		API, GitSHA(), Go(), Platform(), Cairn)
}
