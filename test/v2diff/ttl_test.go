package v2diff

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestTTLs sets keys and directories with short TTLs, and compares the events of their expiry and
// the remaining nodes. All requests must complete long before the first expiry, which a busy
// machine does not guarantee: so it runs only with CAIRN_DIFF_SEEDS set.
func TestTTLs(t *testing.T) {
	if os.Getenv("CAIRN_DIFF_SEEDS") == "" {
		t.Skip("CAIRN_DIFF_SEEDS is not set")
	}
	p := newPair(t)
	for _, seed := range seeds(t, 1, 1) {
		p.align()
		g := newGenerator(seed)
		root := fmt.Sprintf("/t%d", seed)
		target := "/v2/keys" + root + "?wait=true&recursive=true&stream=true"
		ours, theirs := p.ours.watch(target), p.theirs.watch(target)
		start := time.Now()
		var writes []string
		for range 25 {
			r := g.ttlRequest(root)
			g.index = p.ours.index()
			o, th := p.both(r)
			writes = append(writes, fmt.Sprintf("%s: %d", r, o.status))
			if how := differs(r, o, th); how != "" {
				t.Errorf("seed %d: %s: %s\nours %s\ntheirs %s", seed, r, how, o.body, th.body)
			}
			// so that no two expire in the same tick of the other's clock
			time.Sleep(5 * time.Millisecond)
		}
		if took := time.Since(start); took > 800*time.Millisecond {
			t.Fatalf("the requests took %v", took)
		}
		time.Sleep(time.Until(start.Add(4 * time.Second)))
		r := request{method: "GET", target: "/v2/keys" + root + "?recursive=true"}
		o, th := p.both(r)
		how := differs(r, o, th)
		// In the event of a directory's expiry 3.4 sets dir, 3.1 does not.
		mine, _ := ours.heard()
		others, _ := theirs.heard()
		for i, line := range others {
			if strings.HasPrefix(line, `{"action":"expire"`) {
				others[i] = strings.Replace(line, `,"dir":true,"modifiedIndex"`, `,"modifiedIndex"`, 1)
			}
		}
		if how == "" {
			how = differBodies(strings.Join(mine, ""), strings.Join(others, ""))
		}
		if how != "" {
			t.Errorf("seed %d: they differ in the %s\nours   %s\n%s\ntheirs %s\n%s\nwrites:\n%s", seed, how, o.body, strings.Join(mine, ""), th.body,
				strings.Join(others, ""), strings.Join(writes, "\n"))
		}
		ours.cancel()
		theirs.cancel()
	}
}

func (g *generator) ttlRequest(root string) request {
	r := request{method: g.pick("PUT", "PUT", "PUT", "PUT", "POST", "DELETE"), contentType: "application/x-www-form-urlencoded"}
	r.target = "/v2/keys" + root + "/" + g.pick("a", "b", "c", "d") + g.pick("", "", "/a", "/b", "/a/c")
	if r.method == "DELETE" {
		r.target += g.pick("?recursive=true", "?dir=true", "")
		return request{method: r.method, target: r.target}
	}
	r.body = g.pick("ttl=1", "ttl=1", "ttl=2", "ttl=100", "", "ttl=")
	if r.method == "PUT" {
		r.body += "&" + g.pick("", "", "prevExist=true", "prevExist=false", "prevExist=true&refresh=true", "refresh=true")
	}
	if g.chance(3) {
		r.body += "&dir=true"
	} else if !strings.Contains(r.body, "refresh") {
		r.body += "&value=x"
	}
	return r
}
