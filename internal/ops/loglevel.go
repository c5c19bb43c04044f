package ops

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"

	"cairn/internal/logging"
)

const logRequestBytesMax = 4096

// levels are the names of levels in etcd 3.1, in capitals and as their first letter, and those of
// --log-level.
var levels = map[string]slog.Level{
	"CRITICAL": slog.LevelError, "C": slog.LevelError,
	"ERROR": slog.LevelError, "E": slog.LevelError,
	"WARNING": slog.LevelWarn, "WARN": slog.LevelWarn, "W": slog.LevelWarn,
	"NOTICE": logging.LevelNotice, "N": logging.LevelNotice,
	"INFO": slog.LevelInfo, "I": slog.LevelInfo,
	"DEBUG": slog.LevelDebug, "D": slog.LevelDebug,
	"TRACE": slog.LevelDebug, "T": slog.LevelDebug,
}

// serveLogLevel sets the log level until the next start: PUT /config/local/log {"Level":"DEBUG"}.
func (c Config) serveLogLevel(w http.ResponseWriter, r *http.Request) {
	var in struct{ Level string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, logRequestBytesMax)).Decode(&in); err != nil {
		writeMessage(w, http.StatusBadRequest, "Invalid json body")
		return
	}
	level, ok := levels[strings.ToUpper(in.Level)]
	if !ok {
		writeMessage(w, http.StatusBadRequest, "Invalid log level "+in.Level)
		return
	}
	c.Level.Set(level)
	w.WriteHeader(http.StatusNoContent)
}

func writeMessage(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, "application/json", struct {
		Message string `json:"message"`
	}{message})
}
