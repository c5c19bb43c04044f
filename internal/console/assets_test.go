package console

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func packed(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFiles(t *testing.T) {
	const script = "console.log(1)"
	gz := packed(t, script)
	f, err := load(fstest.MapFS{
		"index.html":         {Data: []byte("<!doctype html>")},
		"assets/a-123.js.gz": {Data: gz},
		"assets/a-123.js.br": {Data: []byte("brotli")},
		"sources.sha256":     {Data: []byte("abc")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, accept, body, coding, kind, caching string
		status                                    int
	}{
		{"", "br", "<!doctype html>", "", "text/html; charset=utf-8", "no-cache", 200},
		{"index.html", "", "<!doctype html>", "", "text/html; charset=utf-8", "no-cache", 200},
		{"assets/a-123.js", "gzip, deflate, br, zstd", "brotli", "br", "text/javascript; charset=utf-8", immutable, 200},
		{"assets/a-123.js", "gzip", string(gz), "gzip", "text/javascript; charset=utf-8", immutable, 200},
		{"assets/a-123.js", "gzip;q=0.5, br;q=0", string(gz), "gzip", "text/javascript; charset=utf-8", immutable, 200},
		{"assets/a-123.js", "", script, "", "text/javascript; charset=utf-8", immutable, 200},
		{"assets/a-123.js", "identity", script, "", "text/javascript; charset=utf-8", immutable, 200},
		{"assets/a-123.js.gz", "", "", "", "", "", 404},
		{"sources.sha256", "", "", "", "", "", 404},
		{"assets/", "", "", "", "", "", 404},
		{"../console.go", "", "", "", "", "", 404},
		{"keys", "", "", "", "", "", 404},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r := httptest.NewRequest(method, "/console/x", nil)
			r.Header.Set("Accept-Encoding", c.accept)
			w := httptest.NewRecorder()
			f.serve(w, r, c.name)
			h, body := w.Result().Header, w.Body.String()
			if method == http.MethodHead && c.status == 200 {
				body += c.body
			}
			if w.Code != c.status || c.status == 200 && (body != c.body || h.Get("Content-Encoding") != c.coding || h.Get("Content-Type") != c.kind || h.Get("Cache-Control") != c.caching) {
				t.Errorf("%s %q for %q: %d %q %v", method, c.name, c.accept, w.Code, body, h)
			}
		}
	}
	w := httptest.NewRecorder()
	if f.serve(w, httptest.NewRequest(http.MethodPost, "/console/", nil), ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

const (
	gzipBytesMax     = 300 << 10
	embeddedBytesMax = 900 << 10 // of the megabyte by which the program may grow
)

// The committed files are small, can be unpacked, and have no inline scripts or styles, which the
// policy would not run.
func TestEmbedded(t *testing.T) {
	compressed, all := 0, 0
	err := fs.WalkDir(dist, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(dist, name)
		all += len(content)
		switch {
		case strings.HasSuffix(name, ".gz"):
			compressed += len(content)
			if _, err := unpack(content); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case strings.HasSuffix(name, ".html"):
			compressed += len(packed(t, string(content)))
			page := strings.ToLower(string(content))
			for part := range strings.SplitSeq(page, "<script") {
				if tag, _, _ := strings.Cut(part, ">"); part != page && !strings.HasPrefix(page, part) && !strings.Contains(tag, "src=") {
					t.Errorf("%s has an inline script: %s", name, tag)
				}
			}
			for _, forbidden := range []string{"<style", " style=", " onclick=", " onload=", "javascript:"} {
				if strings.Contains(page, forbidden) {
					t.Errorf("%s has %q", name, forbidden)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes compressed with gzip, %d bytes embedded", compressed, all)
	if compressed > gzipBytesMax || all > embeddedBytesMax {
		t.Errorf("%d bytes compressed with gzip, want at most %d; %d bytes embedded, want at most %d", compressed, gzipBytesMax, all, embeddedBytesMax)
	}
	if _, _, ok := embedded().find("index.html", ""); !ok {
		t.Error("there is no index.html")
	}
}
