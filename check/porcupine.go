package check

import (
	"time"

	"github.com/anishathalye/porcupine"
)

// Porcupine searches for an order of a history's requests without using the revisions of responses
// and watches: it is an independent check of Check. It does not support expiries of leases and
// TTLs, takes exponential time where the outcome of many requests is unknown, and stops after the
// timeout. ok is false when there is no order; decided is false after a timeout.
func Porcupine(h *History, timeout time.Duration) (ok, decided bool) {
	model := porcupine.Model{
		Init: func() any { return NewState() },
		Step: func(state, input, _ any) (bool, any) {
			next, _, ok := try(state.(*State), input.(*Operation), 0)
			if !input.(*Operation).Known() {
				return true, next // a refusal is a possible outcome, too
			}
			return ok, next
		},
		Equal: func(a, b any) bool { return a.(*State).Equal(b.(*State)) },
	}
	var ops []porcupine.Operation
	for i := range h.Operations {
		o := &h.Operations[i]
		switch {
		case serializable(&o.Request), o.Known() && o.Response.Err == ErrRefused:
			continue // not part of the order
		case !o.Known() && readOnly(&o.Request):
			continue
		}
		ops = append(ops, porcupine.Operation{ClientId: i, Input: o, Call: o.Call, Output: nil, Return: o.Return})
	}
	switch porcupine.CheckOperationsTimeout(model, ops, timeout) {
	case porcupine.Ok:
		return true, true
	case porcupine.Illegal:
		return false, true
	default:
		return false, false
	}
}
