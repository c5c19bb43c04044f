// Package lint checks the import rules in docs/architecture.md, and that docs/compatibility.md
// lists the whole published API, and that tests do not sleep in place of an event.
//
// It owns the table of layers below and the rules that read it. It does not own style:
// golangci-lint does. It works on source text alone (an fs.FS), so the rules themselves are tested
// on small trees that break them.
//
// Invariants: every package of the module is in the table; an import between two packages of the
// module goes to a strictly lower layer unless crossings names it, with the reason (TestModule).
//
// Concurrency: none; all results depend only on the arguments.
package lint

// outside is the layer of packages that are in no program: tests, the simulator, checkers. They may
// import anything of the module, and no package with a layer may import them.
const outside = -1

// layers is the table of the module's packages, by their directory. A name ending in /... covers
// everything below it. A new package gets its line here, in the layer of docs/architecture.md.
var layers = map[string]int{
	"internal/kv":        0,
	"internal/budget":    0,
	"internal/connset":   0,
	"internal/handshake": 0,
	"internal/throttle":  0,
	"internal/codec":     0,
	"internal/version":   0,
	"internal/invariant": 0,

	"internal/storage":    1,
	"internal/raftlog":    1,
	"internal/metrics":    1,
	"internal/tracing":    1,
	"internal/http2":      1,
	"internal/grpcclient": 1,
	"internal/http1":      1,
	"internal/datadir":    1,
	"internal/logging":    1,
	"internal/certs":      1,
	"internal/texttable":  1,
	"internal/listen":     2,

	"internal/v3lockpb":     1,
	"internal/v3electionpb": 1,

	"internal/config":     2,
	"internal/grpcserver": 2,
	"internal/httpbridge": 2,
	"internal/deadline":   2,
	"internal/mvcc":       2,
	"internal/snapshot":   2,
	"internal/etcdfile":   1,
	"internal/discovery":  1,
	"internal/alarm":      2,
	"internal/auth":       2,
	"internal/membership": 2,

	"internal/lease":  3, // ends leases with mvcc.Writer
	"internal/v2tree": 3,
	"internal/v3op":   3, // names mvcc's operations
	"internal/watch":  3,

	"internal/migration": 3, // has users and leases in its commands
	"internal/peer":      3,
	"internal/portmux":   3, // routes to grpcserver

	"internal/machine": 4,

	"internal/replica":            5,
	"internal/member/expiry":      5,
	"internal/member/keepalive":   5,
	"internal/member/compactor":   5,
	"internal/member/quota":       5,
	"internal/member/integrity":   5,
	"internal/member/reconfigure": 5,
	"internal/backup":             5,

	"internal/member": 6,

	"internal/v3rpc":   7,
	"internal/v2http":  7,
	"internal/gateway": 7,
	"internal/ops":     7,

	"internal/console": 8, // has the errors of v3rpc

	"internal/proxy/clusterwatch": 6,
	"internal/proxy/relay":        1,
	"internal/proxy/rawgrpc":      3,
	"internal/proxy/tcpproxy":     7,
	"internal/proxy/httpproxy":    7,
	"internal/proxy/grpcproxy":    7,

	"cmd/...": 9,

	"internal/lint": outside,
	"sim/...":       outside,
	"check/...":     outside,
	"test/...":      outside,
	"scripts/...":   outside,
}

// crossing is an allowed import that does not go to a strictly lower layer.
type crossing struct{ from, to string }

// crossings lists them with the reason. Unused ones are reported.
var crossings = map[crossing]string{
	{"cmd/bench", "test/process"}:            "bench is a tool for tests, which starts servers as tests do",
	{"internal/raftlog", "internal/storage"}: "only storage touches pebble, so the raft log gets its store from it",
}

// stdOnly is the highest layer that imports only the standard library.
const stdOnly = 0

// pureMax is the highest layer whose packages are stepped by their caller: they start no goroutine,
// read no wall clock and no global randomness, so that sim can run them.
const pureMax = 5

// impure lists the packages up to pureMax that use goroutines or clocks nevertheless, with the
// reason.
var impure = map[string]string{
	"internal/http1":              "serves connections",
	"internal/proxy/relay":        "copies between connections",
	"internal/proxy/rawgrpc":      "forwards calls",
	"internal/discovery":          "asks the DNS and discovery services",
	"internal/handshake":          "limits how long a client waits for its turn",
	"internal/certs":              "makes keys, and looks at its files while handshakes come in",
	"internal/peer":               "holds connections to other members",
	"internal/backup":             "reads files, and talks to the member of a data directory",
	"internal/member/expiry":      "runs in the background of a member",
	"internal/member/keepalive":   "calls the leader",
	"internal/member/compactor":   "runs in the background of a member",
	"internal/member/quota":       "runs in the background of a member",
	"internal/member/integrity":   "runs in the background of a member",
	"internal/member/reconfigure": "waits for changes of the members",
	"internal/metrics":            "measures what takes wall-clock time",
	"internal/tracing":            "sends spans to a collector",
	"internal/http2":              "serves connections",
	"internal/grpcclient":         "holds connections to members",
	"internal/grpcserver":         "serves connections",
	"internal/httpbridge":         "serves connections",
	"internal/portmux":            "serves connections",
	"internal/storage":            "pebble works in the background; the wait for a disk that has failed is bounded",
	"internal/listen":             "binds addresses",
	"internal/logging":            "names old log files by their time",
}

// pebble is the storage engine's module. Only internal/storage imports it; tests and the simulator
// may use its virtual file system, to crash a disk.
const (
	pebble    = "github.com/cockroachdb/pebble"
	pebbleVFS = pebble + "/v2/vfs"
)

// forbidden are import paths that nothing may import, including paths below them: they belong to
// the project that is being reimplemented.
var forbidden = []string{
	"go.etcd.io/etcd/server",
	"go.etcd.io/etcd/etcdctl",
	"go.etcd.io/etcd/etcdutl",
	"go.etcd.io/etcd/v3",
	"go.etcd.io/etcd/embed",
	"go.etcd.io/etcd/tests",
	"github.com/coreos/etcd",
}
