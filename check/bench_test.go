package check

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkCheck checks a history of 20,000 requests of eight concurrent clients, with a watch of
// everything.
func BenchmarkCheck(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	r := newRecorder()
	r.watch()
	for i := range 20_000 {
		key := fmt.Sprintf("k%03d", rng.IntN(500))
		switch rng.IntN(4) {
		case 0:
			r.do(get(key))
		case 1:
			r.do(del(key))
		default:
			r.do(put(key, fmt.Sprint(i)))
		}
		o := &r.h.Operations[len(r.h.Operations)-1]
		o.Call -= rng.Int64N(80)
		if rng.IntN(500) == 0 {
			o.Return = Never
		}
	}
	for b.Loop() {
		if res := Check(&r.h, Options{}); len(res.Violations) > 0 {
			b.Fatal(res.Violations[0])
		}
	}
}
