package v3cmd

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"cairn/cmd/etcdctl/internal/cli"
)

// metrics are a server's metrics by their names with labels, as /metrics writes them.
type metrics map[string]float64

// readMetrics reads the metrics of an endpoint.
func readMetrics(ctx context.Context, s *cli.Session, endpoint string) (metrics, error) {
	secure, err := tlsOf(s, []string{endpoint}, "")
	if err != nil {
		return nil, err
	}
	if !strings.Contains(endpoint, "://") {
		scheme := "http://"
		if secure != nil {
			scheme = "https://"
		}
		endpoint = scheme + endpoint
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: secure}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s/metrics: %s", endpoint, resp.Status)
	}
	all := metrics{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), "} ")
		if ok {
			name += "}"
		} else {
			name, text, ok = strings.Cut(lines.Text(), " ")
		}
		if v, err := strconv.ParseFloat(text, 64); ok && err == nil && name != "#" {
			all[name] = v
		}
	}
	return all, lines.Err()
}

// byLabel sums a metric by the values of one of its labels.
func (m metrics) byLabel(name, label string) map[string]float64 {
	sums := map[string]float64{}
	for key, v := range m {
		labels, ok := strings.CutPrefix(key, name+"{")
		if !ok {
			continue
		}
		if _, rest, ok := strings.Cut(labels, label+`="`); ok {
			text, _, _ := strings.Cut(rest, `"`)
			sums[text] += v
		}
	}
	return sums
}
