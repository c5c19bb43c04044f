package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// The error about a request that cannot be understood quotes no more than the beginning of it,
// wherever the decoder quotes from.
func TestErrorsQuoteLittle(t *testing.T) {
	long := strings.Repeat("long", 10_000)
	url, _ := start(t)
	for name, body := range map[string]string{
		"unknown field":     fmt.Sprintf(`{"%s":1}`, long),
		"unknown literal":   `{"key":` + long + `}`,
		"no base64":         fmt.Sprintf(`{"key":"%s!"}`, long),
		"no number":         fmt.Sprintf(`{"key":"YQ==","limit":"%s"}`, long),
		"number too large":  `{"key":"YQ==","limit":` + strings.Repeat("9", 30_000) + `}`,
		"escape out of map": fmt.Sprintf(`{"key":"\u%s"}`, long),
	} {
		resp, text := post(t, url+"/v3/kv/range", body)
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", name, resp.Status)
		}
		// The text is in the response twice, as etcd's gateway has it, with quotes escaped.
		if most := 2*(errorTextMax+len("…"))*2 + 100; len(text) > most {
			t.Errorf("%s: an error of %d bytes, want at most %d: %.300s…", name, len(text), most, text)
		}
	}
}
