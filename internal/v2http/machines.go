package v2http

import (
	"net/http"
	"strings"
)

// serveMachines lists the client URLs of all members.
func (h *Handler) serveMachines(w http.ResponseWriter, _ *http.Request) {
	var urls []string
	for _, m := range h.cluster.Members() {
		urls = append(urls, m.ClientURLs...)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	// an error means that the client has disconnected
	_, _ = w.Write([]byte(strings.Join(urls, ", ")))
}
