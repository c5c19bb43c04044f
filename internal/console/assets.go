package console

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// dist has the console's files: index.html, and the assets compressed with gzip and brotli, without
// the uncompressed ones. Assets have a hash of their content in their names.
//
//go:embed all:dist
var dist embed.FS

// files serves the console's files.
type files struct {
	plain map[string][]byte            // by name
	coded map[string]map[string][]byte // by name and content coding
}

// codings are the content codings by the suffixes of files, the preferred one first.
var codings = []struct{ suffix, name string }{{".br", "br"}, {".gz", "gzip"}}

func embedded() files {
	sub, err := fs.Sub(dist, "dist")
	if err == nil {
		var f files
		if f, err = load(sub); err == nil {
			return f
		}
	}
	panic(err) // the files are part of the program
}

func load(from fs.FS) (files, error) {
	f := files{plain: map[string][]byte{}, coded: map[string]map[string][]byte{}}
	err := fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		for _, c := range codings {
			if plain, ok := strings.CutSuffix(name, c.suffix); ok {
				if f.coded[plain] == nil {
					f.coded[plain] = map[string][]byte{}
				}
				f.coded[plain][c.name] = content
				return nil
			}
		}
		f.plain[name] = content
		return nil
	})
	return f, err
}

// types are the media types of files. The system's table is not used, since it differs.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".woff2": "font/woff2", ".json": "application/json", ".txt": "text/plain; charset=utf-8",
}

// immutable is the caching of files whose names have a hash of their content.
const immutable = "public, max-age=31536000, immutable"

// serve serves the file of a name; "" is the page.
func (f files) serve(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	if name == "" {
		name = "index.html"
	}
	content, coding, ok := f.find(name, r.Header.Get("Accept-Encoding"))
	kind := types[path.Ext(name)]
	if !ok || kind == "" {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") {
		h.Set("Cache-Control", immutable)
	}
	if f.coded[name] != nil {
		h.Set("Vary", "Accept-Encoding")
	}
	if coding != "" {
		h.Set("Content-Encoding", coding)
	}
	h.Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(content) // the client may have disconnected
	}
}

// find returns the content of a file in a coding that the client accepts.
func (f files) find(name, accepted string) (content []byte, coding string, ok bool) {
	if content, ok := f.plain[name]; ok {
		return content, "", true
	}
	coded := f.coded[name]
	for _, c := range codings {
		if content, ok := coded[c.name]; ok && accepts(accepted, c.name) {
			return content, c.name, true
		}
	}
	if packed, ok := coded["gzip"]; ok {
		if content, err := unpack(packed); err == nil {
			return content, "", true
		}
	}
	return nil, "", false
}

// accepts reports whether a field Accept-Encoding has a coding with a weight other than 0.
func accepts(field, coding string) bool {
	for part := range strings.SplitSeq(field, ",") {
		name, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err == nil && name == coding {
			weight, err := strconv.ParseFloat(params["q"], 64)
			return err != nil || weight > 0
		}
	}
	return false
}

func unpack(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
