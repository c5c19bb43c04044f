package tcpproxy

import (
	"maps"
	"slices"
	"testing"
)

// order returns the endpoints in the order in which a connection tries them.
func order(p *picker) (hosts []string) {
	for tried := map[*remote]bool{}; ; {
		r := p.pick(tried)
		if r == nil {
			return hosts
		}
		tried[r] = true
		hosts = append(hosts, r.Host)
	}
}

func TestPriorities(t *testing.T) {
	p := newPicker([]Endpoint{{"late", 20, 0}, {"first", 0, 1}, {"second", 10, 5}}, nil)
	if got, want := order(p), []string{"first", "second", "late"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	p.setDown(p.all[1], true)
	if got, want := order(p), []string{"second", "late", "first"}; !slices.Equal(got, want) {
		t.Errorf("with one down: got %v, want %v", got, want)
	}
	if p.setDown(p.all[1], true) || !p.setDown(p.all[1], false) || len(p.downs()) != 0 {
		t.Error("only a change is news")
	}
}

// TestWeights goes through every value of the random number.
func TestWeights(t *testing.T) {
	n := 0
	p := newPicker([]Endpoint{{"a", 0, 3}, {"b", 0, 1}, {"none", 0, 0}}, func(total int) int {
		if total != 401 {
			t.Fatalf("total is %d", total)
		}
		n++
		return n - 1
	})
	got := map[string]int{}
	for range 401 {
		got[p.pick(nil).Host]++
	}
	if want := map[string]int{"a": 300, "b": 100, "none": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestInTurn(t *testing.T) {
	p := newPicker([]Endpoint{{Host: "a"}, {Host: "b"}}, nil)
	var got []string
	for range 4 {
		got = append(got, p.pick(nil).Host)
	}
	if want := []string{"a", "b", "a", "b"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
