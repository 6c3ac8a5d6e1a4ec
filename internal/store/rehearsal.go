package store

import "context"

type rehearsal struct{}

// Rehearse returns a context in which every transaction that writes is run to its
// last statement, so that whatever would refuse it does, and then rolled back. It
// is not an error: what the transaction worked out is what would have been.
func Rehearse(ctx context.Context) context.Context { return context.WithValue(ctx, rehearsal{}, true) }

// Rehearsing reports whether nothing that is done under ctx may last. Whoever
// does more than write to the store has to ask.
func Rehearsing(ctx context.Context) bool { return ctx.Value(rehearsal{}) != nil }
