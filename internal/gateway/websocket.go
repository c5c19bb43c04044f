package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// A script in a browser cannot send the body of a request in parts; it watches over a websocket.
// Each message from the client is a part of the request's body, and each line of the response is a
// message. The token is sent as a subprotocol, "Bearer, TOKEN", since scripts cannot set headers
// there. As in etcd a cookie named token is accepted as well, but only if the page is of the same
// origin: a browser sends cookies for scripts of any page, and does not check the origin of
// websockets.

const (
	websocketWriteTimeout = 60 * time.Second
	websocketClose        = 2 * time.Second
)

// checkOrigin reports whether the page that opened a websocket may use it. Programs other than
// browsers send no Origin.
func (g *Gateway) checkOrigin(r *http.Request) bool {
	return sameOrigin(r) || g.opts.AllowOrigin == nil || g.opts.AllowOrigin(r.Header.Get("Origin"), r.URL.Path)
}

// sameOrigin reports whether a request is from a page of this server, or not from a page at all.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func (g *Gateway) serveWebsocket(w http.ResponseWriter, r *http.Request, to *route) {
	upgrader := websocket.Upgrader{CheckOrigin: g.checkOrigin, Subprotocols: []string{"Bearer"}}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has sent the response
	}
	defer conn.Close()
	conn.SetReadLimit(g.bodyBytesMax())
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	body, feed := io.Pipe()
	defer body.Close() // also when the handler panics
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
	_ = body.Close() // ends the goroutine above if it is blocked in a write to the pipe
	out.close()
}

// receiveWebsocket copies the client's messages to a request's body until the connection fails or
// the client closes it, and returns the error.
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

// websocketToken returns the token of a websocket's request, or "".
func websocketToken(r *http.Request) string {
	if name, token, ok := strings.Cut(r.Header.Get("Sec-Websocket-Protocol"), ","); ok && strings.TrimSpace(name) == "Bearer" {
		return strings.TrimSpace(token)
	}
	if cookie, err := r.Cookie("token"); err == nil && sameOrigin(r) && r.Header.Get("Authorization") == "" {
		return cookie.Value
	}
	return ""
}

// websocketWriter sends each line of a response as a message, in frames as they are written. It
// drops the status and the headers.
type websocketWriter struct {
	conn   *websocket.Conn
	header http.Header
	line   io.WriteCloser // nil between lines
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
		text, rest, ends := bytes.Cut(p, []byte{'\n'})
		w.send(text)
		if ends {
			w.endLine()
		}
		if p = rest; len(p) == 0 {
			return n, w.failed
		}
	}
}

// FlushError implements the interface that http.ResponseController looks for.
func (w *websocketWriter) FlushError() error { return w.failed }

// send sends a part of a line.
func (w *websocketWriter) send(text []byte) {
	if w.failed != nil || len(text) == 0 {
		return
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(websocketWriteTimeout))
	if w.line == nil {
		if w.line, w.failed = w.conn.NextWriter(websocket.TextMessage); w.failed != nil {
			return
		}
	}
	_, w.failed = w.line.Write(text)
}

// endLine ends the message of a line; an empty line is none.
func (w *websocketWriter) endLine() {
	if w.line == nil || w.failed != nil {
		return
	}
	w.failed = w.line.Close()
	w.line = nil
}

// close sends the end of the last line and a close message.
func (w *websocketWriter) close() {
	w.endLine()
	if w.failed != nil && !errors.Is(w.failed, websocket.ErrCloseSent) {
		return
	}
	message := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = w.conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(websocketClose))
}
