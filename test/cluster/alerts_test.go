package cluster

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// alertFile has the used parts of Prometheus' format of rules.
type alertFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []struct {
			Alert       string            `json:"alert"`
			Expr        string            `json:"expr"`
			For         string            `json:"for"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

// TestAlertsNameServedMetrics: every metric in contrib/prometheus/alerts.yaml is served by a member
// of a cluster, and docs/guides/monitoring.md lists every alert.
func TestAlertsNameServedMetrics(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../contrib/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file alertFile
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../../docs/guides/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, 3)
	put := c.client(c.Members()...)
	_, err = put.Put(c.ctx, "k", "v") // grpc_server_handled_total appears with the first call
	c.must(err)
	// The members measure their round trip times some seconds after they have connected.
	var served string
	c.await("the first round trip time", func() bool {
		_, body, err := c.Members()[0].Get(c.ctx, "/metrics")
		served = string(body)
		return err == nil && strings.Contains(served, "\netcd_network_peer_round_trip_time_seconds_bucket{")
	})
	metric := regexp.MustCompile(`\b(etcd|grpc|process|go)_\w+`)
	alerts := 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			alerts++
			names := metric.FindAllString(regexp.MustCompile(`"[^"]*"|\bgrpc_(method|code)\b`).ReplaceAllString(r.Expr, ""), -1)
			if len(names) == 0 && !strings.Contains(r.Expr, "up{") {
				t.Errorf("%s names no metric: %s", r.Alert, r.Expr)
			}
			for _, name := range names {
				if !regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(served) {
					t.Errorf("%s: no member serves %s", r.Alert, name)
				}
			}
			if r.For == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
				t.Errorf("%s lacks a duration, a severity, a summary or an action: %+v", r.Alert, r)
			}
			if !strings.Contains(string(guide), "`"+r.Alert+"`") {
				t.Errorf("docs/guides/monitoring.md does not list %s", r.Alert)
			}
		}
	}
	if alerts < 10 {
		t.Errorf("%d alerts, want the whole file", alerts)
	}
}
