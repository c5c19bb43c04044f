package v3rpc

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"cairn/internal/auth"
	"cairn/internal/budget"
	"cairn/internal/machine"
	"cairn/internal/member"
	"cairn/internal/membership"
	"cairn/internal/migration"
)

// migrationService takes over the content of another cluster (docs/formats/migration.md). etcd does
// not have it.
var migrationService = grpc.ServiceDesc{
	ServiceName: migration.ServiceName,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: migration.MethodStatus, Handler: call("/"+migration.ServiceName+"/"+migration.MethodStatus, (*server).migrationStatus)},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: migration.MethodApply, Handler: migrationApply, ServerStreams: true, ClientStreams: true},
	},
}

// migrationStatus returns the progress of the migration, to any user.
func (s *server) migrationStatus(ctx context.Context, _ *wrapperspb.BytesValue) (any, error) {
	if err := s.member.Requests.WaitLinearizable(ctx); err != nil {
		return nil, err
	}
	var resp *wrapperspb.BytesValue
	err := s.read(ctx, anyUser, func() (err error) {
		resp, err = s.migration()
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// migration returns a status of the migration.
func (s *server) migration() (*wrapperspb.BytesValue, error) {
	state, head := s.member.State.Migration(), s.member.Requests.Keys().Head()
	st := migration.Status{
		Phase: state.Phase, Endpoints: state.Endpoints, Base: state.Base, Revision: head.Revision, CompactRevision: head.CompactRevision,
		Keys: head.Keys(), LoadedMain: state.Loaded.Main, LoadedSub: state.Loaded.Sub, Seen: state.Seen,
	}
	if state.Phase != migration.None {
		st.Source = migration.SourceID(state.Source)
		st.Idle = time.Duration(max(0, s.member.Leases.ClusterTime()-state.Heard)).Seconds()
	}
	b, err := st.Encode()
	return &wrapperspb.BytesValue{Value: b}, err
}

// migrationApply applies commands one after the other. It needs the role root.
func migrationApply(srv any, stream grpc.ServerStream) error {
	s, ctx := srv.(*server), stream.Context()
	if err := s.checkRoot(ctx); err != nil { // before memory is taken for commands
		return WireError(err)
	}
	account := budget.FromContext(ctx)
	for {
		command, err := receiveCommand(stream, account)
		if err == nil {
			err = s.applyMigration(ctx, stream, command)
		}
		account.Give(int64(len(command)))
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return WireError(err)
		}
	}
}

// applyMigration applies a command, and sends the status after it.
func (s *server) applyMigration(ctx context.Context, stream grpc.ServerStream, command []byte) error {
	if !membership.KnowStillChanges(s.member.Cluster.Members()) {
		return status.Error(codes.FailedPrecondition, "etcdserver: a member of an older version does not know migrations: upgrade it first")
	}
	if _, err := s.propose(ctx, machine.KindMigrate, command, auth.PermitRoot); err != nil {
		return err
	}
	resp, err := s.migration()
	if err != nil {
		return err
	}
	return stream.SendMsg(resp)
}

// receiveCommand returns the next command of a stream, assembled from its pieces. Its bytes are
// taken from the account, also when an error is returned; the error io.EOF is the end of the
// stream.
func receiveCommand(stream grpc.ServerStream, account *budget.Account) (command []byte, err error) {
	for {
		piece := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(piece); err != nil {
			if errors.Is(err, io.EOF) && len(command) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return command, err
		}
		b := piece.GetValue()
		if len(b) == 0 || b[0] > migration.PieceLast {
			return command, invalid("malformed piece of a migration's command")
		}
		if len(command)+len(b) > migration.CommandBytesMax {
			return command, member.ErrTooLarge
		}
		if err := account.Take(stream.Context(), int64(len(b)-1)); err != nil {
			return command, err
		}
		command = append(command, b[1:]...)
		if b[0] == migration.PieceLast {
			return command, nil
		}
	}
}
