// Package hostile attacks a member as clients can, and measures what it costs the member and a
// well-behaved client meanwhile.
//
// It is a test: small, within seconds, in `make test`; in full with CAIRN_HOSTILE=full (`make
// hostile`). With CAIRN_HOSTILE=matrix (`make matrix`) the slow readers run at their full size,
// each cell for a second, and only their memory and failed requests fail the test. It can be run
// against another etcd:
//
//	CAIRN_TEST_ETCD=/usr/bin/etcd CAIRN_HOSTILE_FLAGS= go test ./test/hostile -v
//
// Each attack reports the member's resident memory before it, at its peak and after it, and the
// good client's 99th percentile at rest and meanwhile. It fails when the memory exceeds
// --memory-limit, when the member ends, or when the good client gets an error or waits out of all
// proportion.
package hostile
