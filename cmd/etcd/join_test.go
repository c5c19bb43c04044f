package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"cairn/internal/config"
)

// TestJoinAsksAgain has the member that is asked for the list of members apply the addition of the
// new one late: the new member asks again instead of refusing its flags.
func TestJoinAsksAgain(t *testing.T) {
	const own = "http://127.0.0.1:1"
	asked := 0
	var other *httptest.Server
	other = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		list := []map[string]any{{"id": 1, "name": "n1", "peerURLs": []string{other.URL}}}
		if asked++; asked > 2 {
			list = append(list, map[string]any{"id": 2, "peerURLs": []string{own}})
		}
		w.Header().Set("X-Etcd-Cluster-Id", "c")
		if err := json.NewEncoder(w).Encode(list); err != nil {
			t.Error(err)
		}
	}))
	defer other.Close()
	var named []config.Founder
	for name, text := range map[string]string{"n1": other.URL, "n2": own} {
		urls, err := config.ParseURLs(text)
		if err != nil {
			t.Fatal(err)
		}
		named = append(named, config.Founder{Name: name, PeerURLs: urls})
	}
	id, members, err := join(t.Context(), &config.Config{Name: "n2"}, named, nil)
	if err != nil || id.MemberID != 2 || id.ClusterID != 0xc || len(members) != 2 {
		t.Errorf("got member %x of cluster %x, %d members, %v; want member 2 of cluster c with 2 members", id.MemberID, id.ClusterID, len(members), err)
	}
	if asked != 3 {
		t.Errorf("asked %d times, want 3", asked)
	}
}
