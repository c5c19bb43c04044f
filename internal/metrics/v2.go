package metrics

import "github.com/prometheus/client_golang/prometheus"

// V2State are the counts of v2's requests since the process started.
type V2State struct {
	Reads, Writes []V2Action
	Expired       uint64 // nodes
	Watches       uint64 // requests to watch
	Watchers      int64  // that wait now
}

// V2Action is how often one kind of request was served, and refused.
type V2Action struct {
	Name            string // etcd's: get, getRecursive, set, create …
	Success, Failed uint64
}

// v2Actions are the reads and writes that etcd counts: they are served with 0 from the start.
var v2Actions = struct{ reads, writes []string }{
	[]string{"get", "getRecursive"}, []string{"set", "create", "update", "delete", "compareAndSwap", "compareAndDelete"},
}

var (
	v2Reads        = v2Action("etcd_debugging_store_reads_total", "Reads of the v2 API that were served.")
	v2ReadsFailed  = v2Action("etcd_debugging_store_reads_failed_total", "Reads of the v2 API that failed.")
	v2Writes       = v2Action("etcd_debugging_store_writes_total", "Writes of the v2 API that were applied.")
	v2WritesFailed = v2Action("etcd_debugging_store_writes_failed_total", "Writes of the v2 API that failed.")
	v2Expired      = prometheus.NewDesc("etcd_debugging_store_expires_total", "Nodes of the v2 API that have expired.", nil, nil)
	v2Watches      = prometheus.NewDesc("etcd_debugging_store_watch_requests_total", "Requests of the v2 API to watch.", nil, nil)
	v2Watchers     = prometheus.NewDesc("etcd_debugging_store_watchers", "Watchers of the v2 API.", nil, nil)
)

func v2Action(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, []string{"action"}, nil)
}

func describeV2(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{v2Reads, v2ReadsFailed, v2Writes, v2WritesFailed, v2Expired, v2Watches, v2Watchers} {
		to <- desc
	}
}

func (s *V2State) collect(to chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, value uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
	}
	actions := func(names []string, counted []V2Action, success, failed *prometheus.Desc) {
		for _, name := range names {
			a := V2Action{Name: name}
			for _, c := range counted {
				if c.Name == name {
					a = c
				}
			}
			counter(success, a.Success, name)
			counter(failed, a.Failed, name)
		}
	}
	actions(v2Actions.reads, s.Reads, v2Reads, v2ReadsFailed)
	actions(v2Actions.writes, s.Writes, v2Writes, v2WritesFailed)
	counter(v2Expired, s.Expired)
	counter(v2Watches, s.Watches)
	to <- prometheus.MustNewConstMetric(v2Watchers, prometheus.GaugeValue, float64(s.Watchers))
}
