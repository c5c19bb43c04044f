package membership

import (
	"crypto/sha1"
	"encoding/binary"
	"slices"
	"strconv"
	"time"
)

// MemberID returns the ID of a member of a cluster that is being bootstrapped, computed as etcd
// computes it: every initial member derives the same IDs from the same --initial-cluster and
// --initial-cluster-token, without communication. peerURLs are the member's peer URLs as written,
// in any order; clusterName is the token.
//
// The ID is the first eight bytes, big-endian, of the SHA-1 of the concatenated sorted URLs and the
// token. A single default member is 8e9e05c52164694d.
func MemberID(peerURLs []string, clusterName string) uint64 {
	return memberID(peerURLs, clusterName, "")
}

// MemberIDAt returns the ID of a member that joins a running cluster: the second at which it was
// added is hashed too, so that a member that is removed and added again with the same URLs gets
// another ID.
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

// ClusterID returns the ID of the cluster with the given initial members, computed as etcd computes
// it: the first eight bytes of the SHA-1 of the members' IDs, each as eight big-endian bytes, in
// ascending order. A single default member makes the cluster cdf818194e3a8c32. The ID does not
// change when members are added or removed.
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
