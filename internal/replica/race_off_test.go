//go:build !race

package replica

// underRace is set in builds with the race detector.
const underRace = false
