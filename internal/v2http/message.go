package v2http

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"

	"cairn/internal/membership"
)

// message is a refusal of a path other than /v2/keys: a status and a text, no code.
type message struct {
	status int
	text   string
}

func (m *message) Error() string { return m.text }

// errNoMember is the error of a change of a member without an ID in the path.
var errNoMember = errors.New("no member in the path")

func noSuchMember(id string) error {
	return &message{http.StatusNotFound, "No such member: " + id}
}

// messages is the one table of other errors that have a status and a text.
var messages = []struct {
	err     error
	message message
}{
	{membership.ErrPeerURLExists, message{http.StatusConflict, "membership: peerURL exists"}},
}

// writeMessage writes a refusal. An error that is not in the table is the member's failure, which
// etcd does not name either.
func writeMessage(w http.ResponseWriter, err error) {
	if errors.Is(err, errNoMember) {
		// etcd sends no Allow header here
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	m := &message{http.StatusInternalServerError, "Internal Server Error"}
	if !errors.As(err, &m) {
		for i := range messages {
			if errors.Is(err, messages[i].err) {
				m = &messages[i].message
			}
		}
	}
	body, err := json.Marshal(struct {
		Message string `json:"message"`
	}{shortened(m.text)})
	if err != nil {
		panic(err) // a text can always be encoded
	}
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(m.status)
	_, _ = w.Write(body) // an error means that the client has disconnected
}

// textBytesMax limits the text of a refusal, which may quote the client's input.
const textBytesMax = 4 << 10

func shortened(text string) string {
	if len(text) <= textBytesMax {
		return text
	}
	return strings.ToValidUTF8(text[:textBytesMax], "") + "…"
}

// writeJSONList writes a success with one list, in parts. none is the list without elements.
func writeJSONList[T any](w http.ResponseWriter, name, none string, elements iter.Seq[T]) error {
	w.Header()["Content-Type"] = jsonType
	body := partsTo(w)
	text := fmt.Appendf(nil, "{%q:", name)
	n := 0
	for e := range elements {
		one, err := json.Marshal(e)
		if err != nil {
			return err
		}
		text = append(text, "[,"[min(n, 1)])
		text = body.part(append(text, one...))
		n++
	}
	if n == 0 {
		text = append(text, none...)
	} else {
		text = append(text, ']')
	}
	body.rest(append(text, "}\n"...))
	return nil // the client may have disconnected
}

// writeJSON writes a success, with a line feed at the end.
func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(append(body, '\n')) // an error means that the client has disconnected
	return nil
}
