package v2http

import (
	"net/http"
	"strings"
)

// serveMachines answers with the client URLs of all members.
func (h *Handler) serveMachines(w http.ResponseWriter, _ *http.Request) {
	var urls []string
	for _, m := range h.cluster.Members() {
		urls = append(urls, m.ClientURLs...)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	// the client may be gone; nobody is left to be told
	_, _ = w.Write([]byte(strings.Join(urls, ", ")))
}
