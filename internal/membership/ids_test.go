package membership

import (
	"testing"
	"time"
)

// The IDs below are what etcd itself logs for these flags: the first is the tutorial's, the second
// was taken from Debian's etcd 3.4.23.
func TestIDsOfSingleMembers(t *testing.T) {
	for _, c := range []struct {
		peerURL         string
		member, cluster uint64
	}{
		{"http://localhost:2380", 0x8e9e05c52164694d, 0xcdf818194e3a8c32},
		{"http://127.0.0.1:33380", 0x5c76a90ae78bcee7, 0x536f0188ef2075ac},
	} {
		member := MemberID([]string{c.peerURL}, "etcd-cluster")
		if member != c.member {
			t.Errorf("MemberID(%s) = %x, want %x", c.peerURL, member, c.member)
		}
		if cluster := ClusterID([]uint64{member}); cluster != c.cluster {
			t.Errorf("ClusterID(%x) = %x, want %x", member, cluster, c.cluster)
		}
	}
}

func TestIDsDoNotDependOnOrder(t *testing.T) {
	urls := []string{"http://b:2380", "http://a:2380"}
	if MemberID(urls, "t") != MemberID([]string{urls[1], urls[0]}, "t") {
		t.Error("the order of the peer URLs changes the member ID")
	}
	if urls[0] != "http://b:2380" {
		t.Error("MemberID sorted its caller's slice")
	}
	ids := []uint64{3, 1, 2}
	if ClusterID(ids) != ClusterID([]uint64{1, 2, 3}) {
		t.Error("the order of the members changes the cluster ID")
	}
	if ids[0] != 3 {
		t.Error("ClusterID sorted its caller's slice")
	}
}

func TestIDsDependOnEverythingElse(t *testing.T) {
	urls, now := []string{"http://a:2380"}, time.Unix(1491824804, 0)
	seen := map[uint64]string{}
	for what, id := range map[string]uint64{
		"plain":         MemberID(urls, "etcd-cluster"),
		"another token": MemberID(urls, "other"),
		"another URL":   MemberID([]string{"http://b:2380"}, "etcd-cluster"),
		"more URLs":     MemberID([]string{"http://a:2380", "http://b:2380"}, "etcd-cluster"),
		"joined":        MemberIDAt(urls, "etcd-cluster", now),
		"joined later":  MemberIDAt(urls, "etcd-cluster", now.Add(time.Second)),
	} {
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s have the same ID %x", what, other, id)
		}
		seen[id] = what
	}
	if MemberIDAt(urls, "etcd-cluster", now) != MemberIDAt(urls, "etcd-cluster", now.Add(time.Millisecond)) {
		t.Error("the ID of a joining member depends on more than the second")
	}
}

// Taken from Debian's etcd 3.4.23 with
//
//	--initial-cluster-token tok
//	--initial-cluster b=http://127.0.0.1:33390,a=http://127.0.0.1:33380,b=http://127.0.0.1:33391
func TestIDsOfTwoMembers(t *testing.T) {
	a := MemberID([]string{"http://127.0.0.1:33380"}, "tok")
	b := MemberID([]string{"http://127.0.0.1:33391", "http://127.0.0.1:33390"}, "tok")
	if a != 0xdaa54702714a88a8 || b != 0x358bbe08e11f6692 {
		t.Errorf("members %x and %x, want daa54702714a88a8 and 358bbe08e11f6692", a, b)
	}
	if cluster := ClusterID([]uint64{a, b}); cluster != 0xdc1493a0cfb106b8 {
		t.Errorf("cluster %x, want dc1493a0cfb106b8", cluster)
	}
}
