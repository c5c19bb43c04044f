package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

func TestCheckV2(t *testing.T) {
	cases := []struct {
		status int
		body   string
		err    error
		want   string // "" means none
	}{
		{200, `{"action":"get"}`, nil, ""},
		{201, ``, nil, ""},
		{200, `{"act`, io.ErrUnexpectedEOF, "read body: unexpected EOF"},
		{204, ``, nil, `HTTP status 204: ""`},
		{404, `{"errorCode":100,"message":"Key not found","cause":"/a","index":7}`, nil, errKeyMissing.Error()},
		{401, `{"errorCode":110,"message":"The request requires user authentication","cause":"x"}`, nil, "HTTP status 401, v2 error 110: The request requires user authentication"},
		{500, `<html>`, nil, `HTTP status 500: "<html>"`},
		{503, `{"errorCode":3`, io.ErrUnexpectedEOF, "HTTP status 503, read body: unexpected EOF"},
	}
	for _, c := range cases {
		err := checkV2(c.status, []byte(c.body), c.err)
		if got := text(err); got != c.want {
			t.Errorf("status %d, body %s, %v: error %q, want %q", c.status, c.body, c.err, got, c.want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Characters that a URL must escape arrive unchanged, with the user's name and password.
func TestV2PathsAndUsers(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		mu.Lock()
		defer mu.Unlock()
		got[name+" "+password+" "+r.Method+" "+r.URL.Path+" "+r.UserAgent()]++
	}))
	defer server.Close()
	s := defaultSettings()
	s.endpoints = []endpoint{{"http", server.Listener.Addr().String()}}
	s.prefix, s.keys, s.keyBytes, s.user = "/a b?ü/", 2, 10, "x:y:z"
	keys, err := newKeyspace(s)
	if err != nil {
		t.Fatal(err)
	}
	w, err := newV2Workload(s, keys, http.MethodGet)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if _, err := w.client(0)(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	first, second := got["x y:z GET /v2/keys/a b?ü/00 "], got["x y:z GET /v2/keys/a b?ü/01 "]
	if first+second != 1 || len(got) != 1 {
		t.Errorf("the server got %v", got)
	}
}
