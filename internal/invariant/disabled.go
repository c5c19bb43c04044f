//go:build !invariants

package invariant

// Enabled reports whether expensive checks run: the build has the tag invariants.
const Enabled = false
