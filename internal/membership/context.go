package membership

import "context"

type movesRevisionKey struct{}

// MoveRevision returns a context in which changes of the members increment the revision. Requests
// of the v2 API use it. See Command.MovesRevision.
func MoveRevision(ctx context.Context) context.Context {
	return context.WithValue(ctx, movesRevisionKey{}, true)
}

// RevisionMoves reports whether a context was made by MoveRevision.
func RevisionMoves(ctx context.Context) bool { return ctx.Value(movesRevisionKey{}) != nil }
