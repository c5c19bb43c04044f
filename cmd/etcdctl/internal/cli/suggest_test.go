package cli

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"get", "top", "put", "member", "snapshot", "prefix", "endpoint"}
	for name, want := range map[string]string{
		"gett": "get", "foo": "", "prefx": "prefix", "perfix": "prefix", "ptu": "put", "membre": "member",
		"snap": "snapshot", "x": "", "endpiont": "endpoint", "status": "", "tpo": "top",
	} {
		if got := nearest(name, names); got != want {
			t.Errorf("nearest to %q is %q, want %q", name, got, want)
		}
	}
}
