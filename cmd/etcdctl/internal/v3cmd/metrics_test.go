package v3cmd

import (
	"math"
	"strings"
	"testing"
)

// TestDurations computes the durations of the requests between two samples.
func TestDurations(t *testing.T) {
	const name = "etcd_server_request_duration_seconds_bucket"
	last := metrics{
		name + `{success="true",type="Put",le="0.001"}`: 5,
		name + `{success="true",type="Put",le="0.01"}`:  7,
		name + `{success="true",type="Put",le="+Inf"}`:  7,
	}
	now := metrics{
		name + `{success="true",type="Put",le="0.001"}`:  105,
		name + `{success="true",type="Put",le="0.01"}`:   109,
		name + `{success="true",type="Put",le="+Inf"}`:   109,
		name + `{success="false",type="Put",le="0.001"}`: 1,
		name + `{success="false",type="Put",le="0.01"}`:  1,
		name + `{success="false",type="Put",le="+Inf"}`:  1,
		name + `{subtype="x",type="Range",le="0.01"}`:    3,
		name + `{subtype="x",type="Range",le="+Inf"}`:    3,
	}
	sums := map[string]histogram{}
	addDurations(sums, now, last)
	put := sums["Put"]
	if got := put.quantile(0.5); got != 0.001 {
		t.Errorf("half of the puts took at most %v s, want 0.001", got)
	}
	if got := put.quantile(1); got != 0.01 {
		t.Errorf("all puts took at most %v s, want 0.01", got)
	}
	want := "SLOWEST REQUESTS                  HALF       99%       ALL\n" +
		"Put                                1ms      10ms      10ms\n" +
		"Range                             10ms      10ms      10ms"
	if got := strings.Join(slowestLines(sums, 0), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := bound(histogram{0.5: 1, math.Inf(1): 2}, 1); got != ">500ms" {
		t.Errorf("a duration above all bounds: %s", got)
	}
	if got := (histogram{}).quantile(1); got != 0 {
		t.Errorf("no requests: %v", got)
	}
}
