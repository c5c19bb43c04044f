package v3cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"cairn/cmd/etcdctl/internal/cli"
)

// metrics are a server's metrics by their names with labels, as /metrics writes them.
type metrics map[string]float64

// openMetrics requests the metrics of an endpoint.
func openMetrics(ctx context.Context, s *cli.Session, endpoint string) (io.ReadCloser, error) {
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
	transport := &http.Transport{TLSClientConfig: secure, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s/metrics: %s", endpoint, resp.Status), resp.Body.Close())
	}
	return resp.Body, nil
}

// readMetrics reads the metrics of an endpoint.
func readMetrics(ctx context.Context, s *cli.Session, endpoint string) (metrics, error) {
	body, err := openMetrics(ctx, s, endpoint)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	all := metrics{}
	lines := bufio.NewScanner(body)
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
		if text, ok := labelOf(labels, label); ok {
			sums[text] += v
		}
	}
	return sums
}

// labelOf returns the value of a label in "a="1",b="2"}".
func labelOf(labels, name string) (value string, ok bool) {
	_, rest, ok := strings.Cut(","+labels, ","+name+`="`)
	value, _, _ = strings.Cut(rest, `"`)
	return value, ok
}

// histogram is the number of observations up to each bound, as in a metric's buckets.
type histogram map[float64]float64

// histograms returns the buckets of a metric by the values of one of its labels.
func (m metrics) histograms(name, label string) map[string]histogram {
	all := map[string]histogram{}
	for key, count := range m {
		labels, ok := strings.CutPrefix(key, name+"_bucket{")
		if !ok {
			continue
		}
		of, labelled := labelOf(labels, label)
		le, bounded := labelOf(labels, "le")
		bound, err := strconv.ParseFloat(le, 64) // "+Inf" as well
		if !labelled || !bounded || err != nil {
			continue
		}
		if all[of] == nil {
			all[of] = histogram{}
		}
		all[of][bound] += count
	}
	return all
}

// since returns the observations that were made after an earlier sample.
func (h histogram) since(last histogram) histogram {
	grown := histogram{}
	for bound, count := range h {
		grown[bound] = count - last[bound]
	}
	return grown
}

// quantile returns the least bound that at least a share q of the observations does not exceed, and
// 0 if there are no observations.
func (h histogram) quantile(q float64) float64 {
	total := h[math.Inf(1)]
	if total <= 0 {
		return 0
	}
	for _, bound := range slices.Sorted(maps.Keys(h)) {
		if h[bound] >= q*total {
			return bound
		}
	}
	return math.Inf(1)
}
