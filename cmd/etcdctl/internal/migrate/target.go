package migrate

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"cairn/internal/migration"
)

// pieceBytes is the size of the piece of a command in a message: less than any practical
// --max-request-bytes.
const pieceBytes = 256 << 10

// target sends commands to the new cluster.
type target struct {
	open   func() (*clientv3.Client, error)
	client *clientv3.Client
	stream grpc.ClientStream // of Apply; nil while there is none
	end    context.CancelFunc
	piece  []byte
}

func openTarget(open func() (*clientv3.Client, error)) (*target, error) {
	t := &target{open: open}
	return t, t.reopen()
}

// reopen closes the connection and opens another, with new credentials.
func (t *target) reopen() (err error) {
	if err := t.close(); err != nil {
		return err
	}
	if t.client, err = t.open(); err != nil {
		t.client = nil
		return fmt.Errorf("new cluster: %w", err)
	}
	return nil
}

// connect opens the connection unless it is open.
func (t *target) connect() error {
	if t.client != nil {
		return nil
	}
	return t.reopen()
}

// close closes the connection, if it is open.
func (t *target) close() error {
	if t.client == nil {
		return nil
	}
	t.endStream()
	err := t.client.Close()
	t.client = nil
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (t *target) endStream() {
	if t.stream != nil {
		t.end()
		t.stream = nil
	}
}

// status returns the position of the target.
func (t *target) status(ctx context.Context) (migration.Status, error) {
	resp := new(wrapperspb.BytesValue)
	err := t.client.ActiveConnection().Invoke(ctx, "/"+migration.ServiceName+"/"+migration.MethodStatus, new(wrapperspb.BytesValue), resp)
	if err != nil {
		if st, ok := statusIn(err); ok && st.Code() == codes.Unimplemented {
			return migration.Status{}, &permanentError{errors.New("new cluster: it is not a cairn, and cannot take over another cluster: give its endpoints with --endpoints")}
		}
		return migration.Status{}, fmt.Errorf("new cluster: %w", err)
	}
	return migration.DecodeStatus(resp.GetValue())
}

var applyStream = grpc.StreamDesc{StreamName: migration.MethodApply, ServerStreams: true, ClientStreams: true}

// apply sends a command, and returns the status after it was applied.
func (t *target) apply(ctx context.Context, command []byte) (migration.Status, error) {
	if len(command) >= migration.CommandBytesMax {
		return migration.Status{}, &permanentError{fmt.Errorf(
			"a command of %d bytes, want less than %d: one revision of the old cluster changes more than can be taken at once",
			len(command), migration.CommandBytesMax)}
	}
	resp, err := t.send(ctx, command)
	if err != nil {
		t.endStream()
		return migration.Status{}, fmt.Errorf("new cluster: %w", err)
	}
	return migration.DecodeStatus(resp.GetValue())
}

func (t *target) send(ctx context.Context, command []byte) (*wrapperspb.BytesValue, error) {
	if t.stream == nil {
		// The stream outlives this call.
		var ended context.Context
		ended, t.end = context.WithCancel(context.WithoutCancel(ctx))
		stream, err := t.client.ActiveConnection().NewStream(ended, &applyStream, "/"+migration.ServiceName+"/"+migration.MethodApply)
		if err != nil {
			t.end()
			return nil, err
		}
		t.stream = stream
	}
	stop := context.AfterFunc(ctx, t.end)
	defer stop()
	for more := true; more; {
		n := min(len(command), pieceBytes)
		t.piece = append(t.piece[:0], migration.PieceMore)
		if more = n < len(command); !more {
			t.piece[0] = migration.PieceLast
		}
		t.piece = append(t.piece, command[:n]...)
		if err := t.stream.SendMsg(&wrapperspb.BytesValue{Value: t.piece}); err != nil {
			break // RecvMsg returns the reason
		}
		command = command[n:]
	}
	resp := new(wrapperspb.BytesValue)
	return resp, t.stream.RecvMsg(resp)
}

// command is apply for a command that does not consist of changes.
func (t *target) command(ctx context.Context, c *migration.Command) (migration.Status, error) {
	return t.apply(ctx, c.Append(nil))
}
