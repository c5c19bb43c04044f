package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestEveryMemberServes writes on each member, in both dialects, and reads on each other one.
func TestEveryMemberServes(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	for _, w := range c.Members() {
		c.put(c.client(w), "/v3/"+w.Name, "by v3")
		c.v2(w, http.MethodPut, "/v2/keys/v2/"+w.Name, "value=by+v2")
	}
	for _, r := range c.Members() {
		for _, w := range c.Members() {
			for dialect, value := range map[string]string{"v3": "by v3", "v2": "by v2"} {
				key := fmt.Sprintf("/%s/%s", dialect, w.Name)
				if got := c.get(c.client(r), key); got != value {
					t.Errorf("%s, written on %s: v3 reads %q on %s", key, w.Name, got, r.Name)
				}
				var body struct {
					Node struct{ Value string }
				}
				text := c.v2(r, get, "/v2/keys"+key+"?quorum=true", "")
				if err := json.Unmarshal([]byte(text), &body); err != nil || body.Node.Value != value {
					t.Errorf("%s, written on %s: v2 reads %s on %s", key, w.Name, text, r.Name)
				}
			}
		}
	}
	c.equal()

	// Every member lists all members on both ports.
	for _, m := range c.Members() {
		for _, path := range []string{"/v2/members", "/v2/machines"} {
			text := c.v2(m, get, path, "")
			for _, o := range c.Members() {
				if !strings.Contains(text, o.ClientURL()) {
					t.Errorf("%s of %s lacks %s: %s", path, m.Name, o.Name, text)
				}
			}
		}
	}
}
