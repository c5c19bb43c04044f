//go:build race

package replica

// underRace is set in builds with the race detector. The crash tests run on one goroutine, so that
// it has little to find in them, and it makes them fifty times as slow: they have fewer seeds then.
const underRace = true
