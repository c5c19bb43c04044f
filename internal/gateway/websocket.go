package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// A browser's script cannot send a request's body bit by bit; a websocket is how it watches. Each
// of its messages is a piece of the body, and each line of the response is a message. The token
// comes as a subprotocol, since scripts may not set headers there: "Bearer, TOKEN". etcd takes a
// cookie called token as well.

const (
	websocketWriteTimeout = 60 * time.Second
	websocketClose        = 2 * time.Second
)

var upgrader = websocket.Upgrader{
	// --cors and --host-whitelist have been asked already
	CheckOrigin:  func(*http.Request) bool { return true },
	Subprotocols: []string{"Bearer"},
}

func (g *Gateway) serveWebsocket(w http.ResponseWriter, r *http.Request, to *route) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	defer conn.Close()
	conn.SetReadLimit(g.bodyBytesMax())
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	body, feed := io.Pipe()
	inner := r.Clone(ctx)
	inner.Method, inner.Body, inner.ContentLength = http.MethodPost, body, -1
	for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
		inner.Header.Del(name)
	}
	if token := websocketToken(r); token != "" {
		inner.Header.Set("Authorization", token)
	}
	go func() {
		err := receiveWebsocket(conn, feed)
		cancel()
		feed.CloseWithError(err)
	}()
	out := &websocketWriter{conn: conn, header: make(http.Header)}
	g.serve(out, inner, to)
	_ = body.Close() // ends the goroutine above, if it is about to pass something on
	out.close()
}

// receiveWebsocket passes on what the client sends, and returns why there is no more.
func receiveWebsocket(conn *websocket.Conn, to io.Writer) error {
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		if _, err := to.Write(append(message, '\n')); err != nil {
			return err
		}
	}
}

// websocketToken finds the token that a script has left.
func websocketToken(r *http.Request) string {
	if name, token, ok := strings.Cut(r.Header.Get("Sec-Websocket-Protocol"), ","); ok && strings.TrimSpace(name) == "Bearer" {
		return strings.TrimSpace(token)
	}
	if cookie, err := r.Cookie("token"); err == nil && r.Header.Get("Authorization") == "" {
		return cookie.Value
	}
	return ""
}

// websocketWriter makes messages of a response's lines. Statuses and headers have no place in them.
type websocketWriter struct {
	conn   *websocket.Conn
	header http.Header
	line   bytes.Buffer
	failed error
}

// Header implements http.ResponseWriter.
func (w *websocketWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *websocketWriter) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (w *websocketWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			w.line.Write(p)
			return n, w.failed
		}
		w.line.Write(p[:end])
		w.send()
		p = p[end+1:]
	}
}

// FlushError makes the writer one that package http's ResponseController can flush.
func (w *websocketWriter) FlushError() error { return w.failed }

func (w *websocketWriter) send() {
	if w.failed == nil && w.line.Len() > 0 {
		_ = w.conn.SetWriteDeadline(time.Now().Add(websocketWriteTimeout))
		w.failed = w.conn.WriteMessage(websocket.TextMessage, w.line.Bytes())
	}
	w.line.Reset()
}

// close sends what is left and says goodbye.
func (w *websocketWriter) close() {
	w.send()
	if w.failed != nil && !errors.Is(w.failed, websocket.ErrCloseSent) {
		return
	}
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = w.conn.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(websocketClose))
}
