package v2http

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cairn/internal/kv"
)

// FuzzForm compares the form parser with the standard library's: values and errors.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		"value=a+b%20c&ttl=5", "value=1&value=2&&x&=&dir", "a;b=c", "value=%zz&prevExist=%", "%76alue=x&wait&wait=1", "ttl=%",
	} {
		f.Add("PUT", s, "value=query&"+s, formType)
		f.Add("GET", s, s, "")
		f.Add("POST", s, "", formType+"; charset=utf-8")
	}
	f.Add("PUT", "value=x", "", formType+"; charset")
	f.Add("PUT", "value=x", "", "application/json")
	f.Add("PUT", "value=x", "", ";")
	f.Fuzz(func(t *testing.T, method, body, query, kind string) {
		request := func() *http.Request {
			r := httptest.NewRequest(http.MethodGet, "/", strings.NewReader(body))
			r.Method, r.URL.RawQuery = method, query
			if kind != "" {
				r.Header.Set("Content-Type", kind)
			}
			return r
		}
		if method == http.MethodPatch {
			t.Skip("not a method of v2")
		}
		var got form
		gotErr := got.read(request())
		want := request()
		wantErr := want.ParseForm()
		if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
			t.Fatalf("%s %q %q %q: %v, want %v", method, body, query, kind, gotErr, wantErr)
		}
		for n, text := range names {
			values, given := want.Form[text]
			if got.has(name(n)) != given || given && got.values[n] != values[0] {
				t.Fatalf("%s %q %q %q: %s is %q, want %q", method, body, query, kind, text, got.values[n], values)
			}
		}
	})
}

// FuzzString compares the encoding of JSON strings with the standard library's.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00\b\f\n\r\t\x1f\x7f", `"\/<>&'`, "\xff\xfe€\u2028\u2029\ufffd", "\xe2\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendString(nil, []byte(s)); string(got) != string(want) {
			t.Fatalf("%q: %s, want %s", s, got, want)
		}
	})
}

func TestLifetime(t *testing.T) {
	wall := time.Date(2026, 11, 22, 15, 39, 3, 0, time.UTC)
	for _, tc := range []struct {
		seconds uint64
		ttl     time.Duration
		ok      bool
	}{
		// As etcd 3.4.23 responded.
		{0, 0, true},
		{1000000000, 1000000000 * time.Second, true},
		{7400000000, 7400000000 * time.Second, true},
		{7500000000, 0, false},
		{9000000000, 0, false},
		{10000000000, 0, false},
		{1<<64 - 1, -time.Second, true},
		{1<<64 - 2, -2 * time.Second, true},
		{1 << 63, 0, true},
		{18446744072709551616, 0, false},
		{18446744073000000000, -709551616 * time.Second, true},
		{36893488147, -419103232, true}, // a little less than 2^65 ns
	} {
		ttl, ok := lifetime(tc.seconds, wall)
		if ok != tc.ok || ok && ttl != tc.ttl {
			t.Errorf("%d: %v, %v, want %v, %v", tc.seconds, ttl, ok, tc.ttl, tc.ok)
		}
	}
}

func TestSecondsLeft(t *testing.T) {
	for d, want := range map[time.Duration]int64{
		0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, -1: 0, -time.Second: -1, -time.Second - 1: -1, 1900 * time.Millisecond: 2,
	} {
		if got := secondsLeft(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
}

// TestLongBodies has values on both sides of net/http's buffer size.
func TestLongBodies(t *testing.T) {
	s := newTree(t, func() kv.ClusterTime { return 1 })
	server := httptest.NewServer(New(Options{Backend: s}))
	defer server.Close()
	for _, n := range []int{1, 1900, 2100, 100_000} {
		value := strings.Repeat("x", n)
		var out strings.Builder
		send(t, &out, server, "PUT /v2/keys/long value="+value, formType)
		out.Reset()
		send(t, &out, server, "GET /v2/keys/long", formType)
		if !strings.Contains(out.String(), `"value":"`+value+`"`) {
			t.Errorf("%d bytes: %.200s", n, out.String())
		}
	}
	var out strings.Builder
	send(t, &out, server, "PUT /v2/keys/long value="+strings.Repeat("x", formBytesMax), formType)
	if !strings.Contains(out.String(), `"cause":"http: POST too large"`) {
		t.Errorf("a form that is too long: %.200s", out.String())
	}
}
