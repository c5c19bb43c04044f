package process

import (
	"crypto/sha1"
	"os"
)

// FleetToken is the --initial-cluster-token of the clusters that package fleet starts: it differs
// from the default, so that members of other tests' clusters cannot join.
const FleetToken = "fleet"

// shortIDs reports whether FreeAddress returns only addresses that give a member with this peer
// address an ID below 2^60, which is printed with 15 digits and, in some texts, a space before it.
// One in 16 members has such an ID by chance; CAIRN_TEST_SHORT_IDS=1 gives one to all that a test
// bootstraps at http:// URLs, to find tests and guides that fail with it.
var shortIDs = os.Getenv("CAIRN_TEST_SHORT_IDS") != ""

// hasShortID reports whether a bootstrapped member whose only peer URL has this address gets an ID
// below 2^60. On 127.0.0.1 it has the default token, elsewhere that of a fleet.
func hasShortID(ip, address string) bool {
	token := FleetToken
	if ip == "127.0.0.1" {
		token = "etcd-cluster"
	}
	sum := sha1.Sum([]byte("http://" + address + token)) // see membership.MemberID
	return sum[0] < 0x10
}
