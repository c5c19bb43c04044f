package localcmd

import (
	"fmt"
	"strings"

	"cairn/cmd/etcdctl/internal/cli"
)

var explainCommands = []cli.Command{{
	Path: "explain", Args: "<code|text>", Short: "explain an error, and what to do about it", Beyond: true,
	Long:    "The argument is an error code of the v2 API, an exit code written as exit-N, or a part of an error's text.",
	Example: "$ etcdctl explain 101\n101  Compare failed …\n$ etcdctl explain \"database space exceeded\"",
	Run:     explain,
}}

// explanation is an error with its meaning and the next step.
type explanation struct{ code, text, meaning, next string }

func explain(s *cli.Session) error {
	if len(s.Args) == 0 {
		return failf(exitArgs, "explain needs an error code or a part of an error's text")
	}
	query := strings.ToLower(strings.TrimSpace(strings.Join(s.Args, " ")))
	var found []explanation
	for _, e := range explanations {
		if e.code == query || len(query) > 3 && (strings.Contains(strings.ToLower(e.text), query) || e.text != "" && strings.Contains(query, strings.ToLower(e.text))) {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		return failf(1, "no explanation of %q: give a v2 error code (100 to 401), exit-N, or a few words of the error", query)
	}
	for i, e := range found {
		if i > 0 {
			fmt.Fprintln(s.Out)
		}
		fmt.Fprintf(s.Out, "%s\n  %s\n  %s\n", strings.TrimSpace(e.code+"  "+e.text), e.meaning, e.next)
	}
	return nil
}

// explanations are the errors that users meet: codes of the v2 API, exit codes, texts of the v3
// API, and errors of connections.
var explanations = []explanation{
	{"100", "Key not found", "v2: the key does not exist, or it has expired.", "Check its path with `etcdctl ls`. A key written with v3 is visible in v2 if its name is a clean absolute path (/a/b)."},
	{"101", "Compare failed", "v2: the key's value or index is not the one that the request requires; another client was faster.", "Read the key again and repeat the request with its present value or index."},
	{"102", "Not a file", "v2: the path is a directory, and the request needs a key.", "Use ls, mkdir, rmdir or rm --recursive for directories."},
	{"104", "Not a directory", "v2: a part of the path above the key is a key with a value.", "Remove that key, or choose another path."},
	{"105", "Key already exists", "v2: mk and mkdir create only what does not exist.", "Use set or update, or another name."},
	{"107", "Root is read only", "v2: the root directory can be neither written nor removed.", "Name a key below it."},
	{"108", "Directory not empty", "v2: rmdir removes empty directories only.", "Use rm --recursive."},
	{"110", "The request requires user authentication", "v2: authentication is enabled, and the user may not access the key.", "Give -u USER:PASSWORD; root can grant a permission with `etcdctl role grant`."},
	{"203", "Prev index is not a number", "v2: the parameter is not a number.", "Correct the request."},
	{"209", "Invalid field", "v2: a parameter has an invalid value.", "The cause names the parameter: correct it."},
	{"300", "Raft Internal Error", "v2: the write was not committed in time.", "See whether the cluster has a leader: `etcdctl cluster-health`."},
	{"401", "The event in requested index is outdated and cleared", "v2: the history before the index has been compacted.", "Read the key, and watch from the index of the response on."},
	{"exit-1", "", "The command failed, or its command line is wrong.", "The line on standard error has the reason."},
	{"exit-2", "", "The cluster could not be reached, or a lease request failed.", "Check --endpoints, and TLS options if the endpoints are https://."},
	{"exit-3", "", "v3: the input is malformed. v2: there is no such command.", "See `etcdctl help COMMAND`."},
	{"exit-4", "", "v3: an unsupported option or format. v2: the server refused the request.", "The line on standard error has the reason."},
	{"exit-5", "", "v3: the command was interrupted. v2: a member is not healthy.", "See `etcdctl endpoint health --cluster`."},
	{"exit-128", "", "v3: the arguments are wrong.", "See `etcdctl help COMMAND`."},
	{"", "context deadline exceeded", "No endpoint served the request in time.", "The lines below the error name the cause for each endpoint. --command-timeout and --dial-timeout extend the time."},
	{"", "connection refused", "No process listens on the address.", "Start etcd, or correct --endpoints (default 127.0.0.1:2379)."},
	{"", "etcdserver: no leader", "The member has no leader: a majority of the members does not respond.", "Start the missing members. If they are lost, see docs/guides/disaster.md (--force-new-cluster)."},
	{"", "etcdserver: request timed out", "The request was not committed in time: no leader, or an overloaded disk or network.", "See `etcdctl endpoint status --cluster -w table`, and the server's metrics for fsync times."},
	{"", "etcdserver: mvcc: database space exceeded", "The database has reached its quota; only reads and deletes are allowed.", "Delete keys and compact, or raise --quota-backend-bytes; then `etcdctl alarm disarm`."},
	{"", "etcdserver: mvcc: required revision has been compacted", "The requested revision is older than the compact revision.", "Read or watch from a newer revision; `etcdctl get KEY -w fields` shows the present one."},
	{"", "etcdserver: mvcc: required revision is a future revision", "The requested revision does not exist yet on this member.", "Correct --rev. After a restore revisions may be lower than clients remember: see `snapshot restore --bump-revision`."},
	{"", "etcdserver: permission denied", "The user has no role with a permission for these keys, or the request is for root only.", "See `etcdctl user get USER --detail`; root grants permissions with `etcdctl role grant-permission`."},
	{"", "etcdserver: user name is empty", "Authentication is enabled, and the request has no user.", "Give --user USER[:PASSWORD], or a client certificate whose common name is the user."},
	{"", "etcdserver: user name not found", "There is no user of that name. It can be the common name of your client certificate.", "root lists the users with `etcdctl user list`, and adds one with `etcdctl user add NAME`."},
	{"", "authentication failed, invalid user ID or password", "The user does not exist, or the password is wrong.", "Check --user; root can set a password with `etcdctl user passwd USER`."},
	{"", "etcdserver: requested lease not found", "The lease has expired, has been revoked, or never existed.", "Grant a new one with `etcdctl lease grant`, and keep it alive."},
	{"", "etcdserver: too many requests", "The server has reached its limit for requests in progress.", "Try again later; clients should retry with a growing pause."},
	{"", "etcdserver: request is too large", "The request exceeds --max-request-bytes of the server (1.5 MiB unless configured otherwise).", "Send less at once."},
	{"", "etcdserver: unhealthy cluster", "The change of members is refused: a member is down, or the members have not been connected to each other for 5 s yet.", "Try again after 5 s. If it is refused again, see `etcdctl endpoint health --cluster`, and start the member or remove it first."},
	{"", "etcdserver: re-configuration failed due to not enough started members", "The cluster could not keep its quorum after the change.", "Start the members that have been added before."},
	{"", "etcdserver: can only promote a learner member which is in sync with leader", "The learner has not received all data yet.", "Wait, and try again."},
	{"", "etcdserver: Peer URLs already exists", "Another member has one of these peer URLs.", "See `etcdctl member list`."},
	{"", "certificate signed by unknown authority", "The server's certificate is signed by a CA that the client does not trust.", "Name the CA's file with --cacert (v2: --ca-file)."},
	{"", "certificate required", "The server requires a client certificate.", "Give --cert and --key (v2: --cert-file and --key-file)."},
}
