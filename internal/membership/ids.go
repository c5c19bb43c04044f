package membership

import (
	"crypto/sha1"
	"encoding/binary"
	"slices"
	"strconv"
	"time"
)

// MemberID is the ID of a member of a cluster that is being bootstrapped, computed as etcd computes
// it: every founding member derives the same IDs from the same --initial-cluster and
// --initial-cluster-token, without talking to the others. peerURLs are the member's peer URLs as
// written, in any order; clusterName is the token.
//
// The ID is the first eight bytes, big-endian, of the SHA-1 of the sorted URLs and the token, all
// run together. A single default member is 8e9e05c52164694d.
func MemberID(peerURLs []string, clusterName string) uint64 {
	return memberID(peerURLs, clusterName, "")
}

// MemberIDAt is the ID of a member that joins a running cluster: the second at which it was added
// is hashed too, so that a member which is removed and added again with the same URLs is another
// member.
func MemberIDAt(peerURLs []string, clusterName string, added time.Time) uint64 {
	return memberID(peerURLs, clusterName, strconv.FormatInt(added.Unix(), 10))
}

func memberID(peerURLs []string, clusterName, added string) uint64 {
	var b []byte
	for _, url := range slices.Sorted(slices.Values(peerURLs)) {
		b = append(b, url...)
	}
	b = append(b, clusterName...)
	b = append(b, added...)
	return first8(b)
}

// ClusterID is the ID of the cluster that the given members found, computed as etcd computes it:
// the first eight bytes of the SHA-1 of the members' IDs, each as eight big-endian bytes, in
// ascending order. A single default member makes the cluster cdf818194e3a8c32. It stays as it is
// when members come and go.
func ClusterID(memberIDs []uint64) uint64 {
	var b []byte
	for _, id := range slices.Sorted(slices.Values(memberIDs)) {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	return first8(b)
}

func first8(b []byte) uint64 {
	sum := sha1.Sum(b)
	return binary.BigEndian.Uint64(sum[:8])
}
