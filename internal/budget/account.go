package budget

import (
	"context"
	"sync"
	"sync/atomic"
)

const (
	// accountMin is the number of bytes that every account may take, regardless of the others.
	accountMin = 64 << 10
	// responsesMax is the number of bytes of long responses per account above which further ones
	// wait; the last one may exceed it.
	responsesMax = 4 << 20
	// guaranteeBytes is taken for every account when it is opened, so that a connection can always
	// have a small request, whatever others have taken since.
	guaranteeBytes = 16 << 10
)

// Account is the part of a Budget that one connection has taken. While more than half of the budget
// is taken, an account may not exceed its fair share: half of the budget divided by the number of
// accounts. Long responses do not count towards that; they have a separate limit (BeginResponse).
// So a few connections can use the free memory, and none can take the memory that others need.
//
// A nil *Account has no limit.
type Account struct {
	b         *Budget
	guarantee int64        // taken from b when the account was opened
	taken     atomic.Int64 // without responses; what exceeds the guarantee is taken from b

	long, runs line // reads that wait for a turn of Budget.long and Budget.runs

	mu        sync.Mutex // guards the fields below
	responses int64
	room      chan struct{} // closed when responses falls; nil: no waiter
}

// Open returns a new account. It must be closed. An account that is opened when the budget has no
// bytes left has no guarantee.
func (b *Budget) Open() *Account {
	if b == nil {
		return nil
	}
	b.accounts.Add(1)
	a := &Account{b: b}
	if b.TryTake(guaranteeBytes) {
		a.guarantee = guaranteeBytes
	}
	return a
}

// Close ends the account once its connection has ended. Later calls of Give release what is still
// taken.
func (a *Account) Close() {
	if a != nil {
		a.b.accounts.Add(-1)
		a.b.Give(a.guarantee)
	}
}

// above returns how much of n bytes exceeds the guarantee.
func (a *Account) above(n int64) int64 { return max(0, n-a.guarantee) }

// share returns the account's maximum while the budget is scarce.
func (a *Account) share() int64 {
	return max(accountMin, a.b.limit/2/max(1, a.b.accounts.Load()))
}

func (a *Account) fair(n int64) bool {
	return a.b.used.Load()+n <= a.b.limit/2 || a.taken.Load()+n <= a.share()
}

// Scarce reports whether the account may take no more: the budget is scarce, and the account has
// its share.
func (a *Account) Scarce() bool { return a != nil && !a.fair(1) }

// TryTake takes n bytes unless that would exceed the limit of the budget or of the account.
func (a *Account) TryTake(n int64) bool {
	if a == nil {
		return true
	}
	for {
		taken := a.taken.Load()
		more := a.above(taken+n) - a.above(taken)
		if more > 0 && (!a.fair(n) || !a.b.TryTake(more)) {
			return false
		}
		if a.taken.CompareAndSwap(taken, taken+n) {
			return true
		}
		a.b.Give(more)
	}
}

// Force takes n bytes, also above the limit: of what is in memory already and was larger than
// expected. Others wait until it has been given back.
func (a *Account) Force(n int64) {
	if a != nil {
		taken := a.taken.Add(n)
		a.b.used.Add(a.above(taken) - a.above(taken-n))
	}
}

// Take takes n bytes, waiting for them until ctx ends. Its errors are those of Budget.Take.
func (a *Account) Take(ctx context.Context, n int64) error {
	if a == nil {
		return nil
	}
	if err := a.b.Take(ctx, n); err != nil {
		return err
	}
	taken := a.taken.Add(n)
	a.b.Give(n - (a.above(taken) - a.above(taken-n))) // what the guarantee has
	return nil
}

// Give releases n bytes.
func (a *Account) Give(n int64) {
	if a == nil || n == 0 {
		return
	}
	for {
		taken := a.taken.Load()
		if a.taken.CompareAndSwap(taken, taken-n) {
			a.b.Give(a.above(taken) - a.above(taken-n))
			return
		}
	}
}

// ResponseRoom returns the number of bytes of unsent responses that the account may have before
// further ones must wait.
func (a *Account) ResponseRoom() int64 {
	if a == nil {
		return responsesMax
	}
	return max(accountMin, min(responsesMax, a.share()/2))
}

// Clamp returns n, or the largest possible share if that is less, but at least least.
func (a *Account) Clamp(n, least int64) int64 {
	if a == nil {
		return n
	}
	return max(least, min(n, a.b.room(n)))
}

// waiting reports whether anything waits for memory of the budget.
func (a *Account) waiting() bool { return a != nil && a.b.Waiting() }

// BeginResponse waits until ctx ends for memory for a further long response. It is called before
// the response is made, so that a client that does not read costs the memory of a few responses and
// not of all its requests. It takes n bytes; TakeResponse takes more for the same response.
func (a *Account) BeginResponse(ctx context.Context, n int64) error {
	if a == nil {
		return nil
	}
	for {
		a.mu.Lock()
		if a.responses == 0 || a.responses < a.ResponseRoom() {
			a.responses += n
			a.mu.Unlock()
			break
		}
		if a.room == nil {
			a.room = make(chan struct{})
		}
		room := a.room
		a.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := a.b.Take(ctx, n); err != nil {
		a.endResponse(n)
		return err
	}
	return nil
}

// TryBeginResponse is BeginResponse without waiting: it reports whether there was memory.
func (a *Account) TryBeginResponse(n int64) bool {
	if a == nil {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.responses != 0 && a.responses >= a.ResponseRoom() || !a.b.TryTake(n) {
		return false
	}
	a.responses += n
	return true
}

// TakeResponse takes n further bytes for a response that has begun, if they are available at once.
func (a *Account) TakeResponse(n int64) bool {
	if a == nil {
		return true
	}
	if !a.b.TryTake(n) {
		return false
	}
	a.mu.Lock()
	a.responses += n
	a.mu.Unlock()
	return true
}

// GiveResponse releases n bytes of a response.
func (a *Account) GiveResponse(n int64) {
	if a == nil || n == 0 {
		return
	}
	a.b.Give(n)
	a.endResponse(n)
}

func (a *Account) endResponse(n int64) {
	a.mu.Lock()
	a.responses -= n
	if a.room != nil && (a.responses == 0 || a.responses < a.ResponseRoom()) {
		close(a.room)
		a.room = nil
	}
	a.mu.Unlock()
}

// Key is the key under which a request's context has the Account of its connection.
type Key struct{}

// FromContext returns the account of the request's connection, or nil.
func FromContext(ctx context.Context) *Account {
	a, _ := ctx.Value(Key{}).(*Account)
	return a
}
