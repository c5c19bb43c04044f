package v2diff

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// requestsPerSeed keeps a seed below the 1,000 events that the other server's history has.
const requestsPerSeed = 300

// TestKeys sends valid and invalid requests for keys.
func TestKeys(t *testing.T) {
	p := newPair(t)
	for _, seed := range seeds(t, 1, 3) {
		p.align()
		g := newGenerator(seed)
		root := fmt.Sprintf("/s%d", seed)
		history := []string{}
		for i := range requestsPerSeed {
			g.index = p.ours.index()
			r := g.keysRequest(root)
			history = append(history, r.String())
			ours, theirs := p.both(r)
			if how := differs(r, ours, theirs); how != "" && !known(r, ours, theirs) {
				t.Errorf("seed %d, request %d: %s\nthey differ in the %s\nours   %d %v %s\ntheirs %d %v %s\nbefore:\n%s", seed, i, r, how,
					ours.status, ours.header, ours.body, theirs.status, theirs.header, theirs.body,
					strings.Join(history[max(0, len(history)-6):], "\n"))
				p.align()
			}
		}
	}
}

// known reports whether a difference is intended.
func known(r request, ours, theirs answer) bool {
	return false
}

// keysRequest makes a request for a key below the seed's own directory.
func (g *generator) keysRequest(root string) request {
	r := request{method: g.pick("GET", "GET", "GET", "PUT", "PUT", "PUT", "PUT", "PUT", "POST", "DELETE", "DELETE", "HEAD")}
	if g.chance(60) {
		r.method = g.pick("OPTIONS", "PATCH", "TRACE", "FOO", "get")
	}
	path := root + g.path()
	if g.chance(40) {
		path = g.pick("", "/", "//", "/.", "/..", "/s1/../s1")
	}
	r.target = "/v2/keys" + path
	parameters := g.parameters(r.method)
	inBody := r.method == "PUT" || r.method == "POST"
	if g.chance(6) {
		inBody = !inBody
	}
	if inBody && parameters != "" {
		r.body, r.contentType = parameters, "application/x-www-form-urlencoded"
		if g.chance(40) {
			r.contentType = g.pick("text/plain", "application/json", "application/x-www-form-urlencoded; charset=utf-8",
				"Application/X-WWW-Form-Urlencoded", "multipart/form-data; boundary=x", "bad;;type", "application/x-www-form-urlencoded;")
		}
		if g.chance(8) {
			r.target += "?" + g.parameters(r.method)
		}
	} else if parameters != "" {
		r.target += "?" + parameters
	}
	return r
}

// path makes a path of few names, so that requests use the same keys.
func (g *generator) path() string {
	if g.chance(25) {
		return g.pick("/", "", "/a/", "//a", "/a//b", "/a/./b", "/a/../b", "/a%2Fb", "/%61", "/a%20b", "/a+b", "/%E4%B8%AD", "/%ff", "/a%00b",
			"/a;b", "/a&b", "/a=b", "/a%3Fb", "/a%23b", "/%2e%2e/a", "/a/%2e", "/_h", "/_h/x", "/a/_h", "/a/_h/x", "/a\"b", "/a<b>", "/..a", "/a/...", "/a/b/")
	}
	path := ""
	for range 1 + g.IntN(3) {
		path += "/" + g.pick("a", "b", "c", "d", "a", "b", "_h", "0")
	}
	return path
}

// parameters makes a form.
func (g *generator) parameters(method string) string {
	var list []string
	add := func(name, value string) { list = append(list, name+"="+value) }
	write := method == "PUT" || method == "POST"
	if write && !g.chance(4) {
		add("value", g.value())
	}
	if write && g.chance(5) {
		add("dir", g.boolean("true"))
	}
	if write && g.chance(6) {
		add("ttl", g.pick("100", "1000", "100", "", "x", "-1", "18446744073709551616", "99999999", "1.5", "+5", " 5"))
	}
	if write && g.chance(10) {
		add("refresh", g.boolean("true"))
	}
	if write && g.chance(12) {
		add("noValueOnSuccess", g.boolean("true"))
	}
	if method == "PUT" && g.chance(4) || g.chance(25) {
		add("prevExist", g.boolean(g.pick("true", "false")))
	}
	if (method == "PUT" || method == "DELETE") && g.chance(5) || g.chance(25) {
		add("prevValue", g.value())
	}
	if (method == "PUT" || method == "DELETE") && g.chance(6) || g.chance(25) {
		add("prevIndex", g.indexText())
	}
	if method == "DELETE" && g.chance(3) {
		add("dir", g.boolean("true"))
	}
	if (method == "DELETE" || method == "GET") && g.chance(3) || g.chance(30) {
		add("recursive", g.boolean("true"))
	}
	if method == "GET" && g.chance(5) {
		add("sorted", g.boolean("true"))
	}
	if method == "GET" && g.chance(6) {
		add("quorum", g.boolean("true"))
	}
	if method != "GET" && g.chance(40) {
		add("wait", g.boolean("true"))
	}
	if g.chance(40) {
		add("waitIndex", g.indexText())
	}
	if g.chance(40) {
		add("stream", g.boolean("true"))
	}
	if g.chance(50) {
		list = append(list, g.pick("value", "dir", "ttl", "=", "&", "bogus=1", "value=a&value=b", "%zz=1", "value=%zz", "value=a;b", "prevExist", "ttl=&ttl=5", "VALUE=x"))
	}
	g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return strings.Join(list, "&")
}

func (g *generator) value() string {
	return g.pick("x", "x", "y", "z", "", "1", url.QueryEscape("a b"), "%00", "%E4%B8%AD%E6%96%87", "%ff%fe", "a%0Ab", "%22q%22", "%3Ctag%3E%26", "%E2%80%A8", "+", "true")
}

func (g *generator) boolean(usual string) string {
	if g.chance(10) {
		return g.pick("1", "0", "t", "F", "TRUE", "yes", "", "true", "false", "2", "tRue")
	}
	return usual
}

func (g *generator) indexText() string {
	if g.chance(8) {
		return g.pick("0", "", "x", "-1", "18446744073709551615", "18446744073709551616", "1.0", "01", "+3")
	}
	return fmt.Sprint(max(0, g.index-int64(g.IntN(20))))
}
