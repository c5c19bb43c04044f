package v3cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var diagnosisCommand = cli.Command{
	Path:  "diagnosis",
	Short: "check every endpoint, and print a report in JSON",
	Long: "Compares the member lists and the statuses of the endpoints, times a serializable and a linearizable read at each, and\n" +
		"collects the metrics of disks and network. Exits with 1 if a check has failed; the report has the reason.",
	Example: "$ etcdctl diagnosis --cluster -o report.json",
	Flags: func(flags *pflag.FlagSet) {
		clusterFlag(flags)
		flags.Int64("etcd-storage-quota-bytes", 2<<30, "quota that the members run with, in `bytes`")
		flags.StringP("output", "o", "", "write the report to this `file`")
	},
	Run: diagnosis,
}

// diagnosisReport is the result of diagnosis. The names in its JSON are those of the tool
// etcd-diagnosis (github.com/ahrtr/etcd-diagnosis), which scripts read.
type diagnosisReport struct {
	Input   diagnosisInput `json:"input"`
	Results []any          `json:"results"`

	faults []string
}

type diagnosisInput struct {
	Endpoints           []string      `json:"endpoints"`
	UseClusterEndpoints bool          `json:"useClusterEndpoints"`
	DialTimeout         time.Duration `json:"dial-timeout"`
	CommandTimeout      time.Duration `json:"command-timeout"`
	KeepAliveTime       time.Duration `json:"keep-alive-time"`
	KeepAliveTimeout    time.Duration `json:"keep-alive-timeout"`
	Insecure            bool          `json:"insecure"`
	InsecureDiscovery   bool          `json:"insecure-discovery"`
	QuotaBytes          int64         `json:"db-quota-bytes"`
}

// successful is the summary of a check that found nothing wrong.
const successful = "Successful"

// finding is what one endpoint said to the diagnosis.
type finding struct {
	endpoint string
	members  *etcdserverpb.MemberListResponse
	status   *etcdserverpb.StatusResponse
	metrics  map[string][]string
	took     [3]time.Duration // serializable read, linearizable read, metrics
	faults   [5]error         // members, status, serializable read, linearizable read, metrics
}

// The checks, as indexes of a finding's faults.
const (
	checkMembers = iota
	checkStatus
	checkSerializable
	checkLinearizable
	checkMetrics
)

func diagnosis(s *cli.Session) error {
	if len(s.Args) != 0 {
		return failf(exitArgs, "diagnosis takes no arguments")
	}
	quota := s.Int64("etcd-storage-quota-bytes")
	if quota <= 0 {
		return failf(exitArgs, "--etcd-storage-quota-bytes=%d: want a positive number", quota)
	}
	if err := environment(s); err != nil {
		return err
	}
	endpoints, config, err := asked(s)
	if err != nil {
		return err
	}
	r := &diagnosisReport{Input: diagnosisInput{
		Endpoints: endpoints, UseClusterEndpoints: s.Bool("cluster"), DialTimeout: config.DialTimeout,
		CommandTimeout: value(s.Flags.GetDuration("command-timeout")), KeepAliveTime: config.DialKeepAliveTime,
		KeepAliveTimeout: config.DialKeepAliveTimeout, Insecure: config.TLS == nil, InsecureDiscovery: insecureDiscovery(s),
		QuotaBytes: quota,
	}}
	found := each(s, endpoints, config, func(ctx context.Context, c *clientv3.Client, endpoint string) finding {
		return examine(ctx, s, c, endpoint)
	}, func(endpoint string, err error) finding {
		return finding{endpoint: endpoint, faults: [5]error{err, err, err, err, err}}
	})
	r.addMembers(found)
	r.addStatuses(found, quota)
	r.addReads("serializableReadChecker", found, checkSerializable)
	r.addReads("linearizableReadChecker", found, checkLinearizable)
	r.addMetrics(found)
	return r.write(s)
}

// examine collects what one endpoint says.
func examine(ctx context.Context, s *cli.Session, c *clientv3.Client, endpoint string) finding {
	f := finding{endpoint: endpoint}
	if list, err := c.MemberList(ctx); err != nil {
		f.faults[checkMembers] = err
	} else {
		f.members = (*etcdserverpb.MemberListResponse)(list)
	}
	if status, err := c.Status(ctx, endpoint); err != nil {
		f.faults[checkStatus] = err
	} else {
		f.status = (*etcdserverpb.StatusResponse)(status)
	}
	for i, options := range [][]clientv3.OpOption{{clientv3.WithSerializable()}, nil} {
		began := time.Now()
		// "permission denied" is the response of a member that can read
		if _, err := c.Get(ctx, "health", options...); err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
			f.faults[checkSerializable+i] = err
		}
		f.took[i] = time.Since(began)
	}
	began := time.Now()
	f.metrics, f.faults[checkMetrics] = readMetricLines(ctx, s, endpoint)
	f.took[2] = time.Since(began)
	return f
}

// reportedMetrics are the metrics in a report.
var reportedMetrics = []string{
	"etcd_disk_backend_commit_duration_seconds_bucket", "etcd_disk_wal_fsync_duration_seconds_bucket",
	"etcd_network_peer_round_trip_time_seconds_bucket", "process_resident_memory_bytes",
}

// readMetricLines returns the lines of the reported metrics.
func readMetricLines(ctx context.Context, s *cli.Session, endpoint string) (map[string][]string, error) {
	body, err := openMetrics(ctx, s, endpoint)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	found := map[string][]string{}
	for _, name := range reportedMetrics {
		found[name] = nil
	}
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		if slices.Contains(reportedMetrics, name) {
			found[name] = append(found[name], lines.Text())
		}
	}
	return found, lines.Err()
}

// summarize returns the summary of a check, and adds its faults to those of the report.
func (r *diagnosisReport) summarize(check string, faults []string) []string {
	if len(faults) == 0 {
		return []string{successful}
	}
	for _, fault := range faults {
		r.faults = append(r.faults, check+": "+fault)
	}
	return faults
}

// faultsOf returns the errors of a check, with their endpoints.
func faultsOf(found []finding, check int) (faults []string) {
	for _, f := range found {
		if err := f.faults[check]; err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", f.endpoint, err))
		}
	}
	return faults
}

// addMembers compares the member lists.
func (r *diagnosisReport) addMembers(found []finding) {
	faults := faultsOf(found, checkMembers)
	var first *finding
	for i := range found {
		f := &found[i]
		switch {
		case f.members == nil:
		case first == nil:
			first = f
		case membersText(f.members) != membersText(first.members):
			faults = append(faults, fmt.Sprintf("%s lists other members than %s: %s, and %s", f.endpoint, first.endpoint, membersText(f.members), membersText(first.members)))
		}
	}
	result := struct {
		Name    string                           `json:"name"`
		Summary []string                         `json:"summary,omitempty"`
		Members *etcdserverpb.MemberListResponse `json:"memberList,omitempty"`
	}{Name: "membershipChecker"}
	if first != nil {
		result.Members = first.members
	}
	if len(faults) > 0 {
		result.Summary = r.summarize(result.Name, faults)
	}
	r.Results = append(r.Results, result)
}

// membersText returns the members of a list in the order of their IDs.
func membersText(list *etcdserverpb.MemberListResponse) string {
	var names []string
	for _, m := range list.GetMembers() {
		names = append(names, fmt.Sprintf("%x (%s, %s)", m.GetID(), m.GetName(), strings.Join(m.GetPeerURLs(), " ")))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Limits of a healthy cluster.
const (
	raftLagMax      = 1000 // entries that a member may be behind another one
	quotaPercentMax = 80   // of the quota that the database may take
)

// addStatuses checks the statuses, and compares them.
func (r *diagnosisReport) addStatuses(found []finding, quota int64) {
	type endpointStatus struct {
		Endpoint string                       `json:"endpoint"`
		Status   *etcdserverpb.StatusResponse `json:"epStatus"`
	}
	result := struct {
		Name    string           `json:"name"`
		Summary []string         `json:"summary"`
		List    []endpointStatus `json:"epStatusList"`
	}{Name: "epStatusChecker", List: []endpointStatus{}}
	faults := faultsOf(found, checkStatus)
	var first *finding
	for i := range found {
		f := &found[i]
		if f.status == nil {
			continue
		}
		result.List = append(result.List, endpointStatus{f.endpoint, f.status})
		faults = append(faults, statusFaults(f, quota)...)
		if first == nil {
			first = f
			continue
		}
		faults = append(faults, statusDifferences(first, f)...)
	}
	result.Summary = r.summarize(result.Name, faults)
	r.Results = append(r.Results, result)
}

// statusFaults returns what is wrong with one status.
func statusFaults(f *finding, quota int64) (faults []string) {
	st := f.status
	if st.GetLeader() == 0 {
		faults = append(faults, f.endpoint+": the member has no leader")
	}
	for _, text := range st.GetErrors() {
		faults = append(faults, f.endpoint+": "+text)
	}
	if st.GetDbSize() > quota/100*quotaPercentMax {
		faults = append(faults, fmt.Sprintf("%s: the database has %s, more than %d%% of the quota of %s",
			f.endpoint, cli.FormatBytes(st.GetDbSize()), quotaPercentMax, cli.FormatBytes(quota)))
	}
	return faults
}

// statusDifferences returns what should be equal in two statuses and is not.
func statusDifferences(a, b *finding) (faults []string) {
	x, y := a.status, b.status
	for _, c := range []struct {
		what string
		x, y any
	}{
		{"version", x.GetVersion(), y.GetVersion()},
		{"cluster ID", fmt.Sprintf("%x", x.GetHeader().GetClusterId()), fmt.Sprintf("%x", y.GetHeader().GetClusterId())},
		{"leader", fmt.Sprintf("%x", x.GetLeader()), fmt.Sprintf("%x", y.GetLeader())},
		{"raft term", x.GetRaftTerm(), y.GetRaftTerm()},
	} {
		if c.x != c.y {
			faults = append(faults, fmt.Sprintf("%s %v at %s, %v at %s", c.what, c.x, a.endpoint, c.y, b.endpoint))
		}
	}
	if i, j := x.GetRaftAppliedIndex(), y.GetRaftAppliedIndex(); max(i, j)-min(i, j) > raftLagMax {
		faults = append(faults, fmt.Sprintf("raft applied index %d at %s, %d at %s", i, a.endpoint, j, b.endpoint))
	}
	return faults
}

// addReads reports the reads of one kind.
func (r *diagnosisReport) addReads(name string, found []finding, check int) {
	type read struct {
		Endpoint string `json:"endpoint"`
		Took     string `json:"took"`
		Error    string `json:"error,omitempty"`
	}
	result := struct {
		Name    string `json:"name"`
		Summary string `json:"summary"`
		Reads   []read `json:"readResponses"`
	}{Name: name}
	for _, f := range found {
		response := read{Endpoint: f.endpoint, Took: f.took[check-checkSerializable].String()}
		if err := f.faults[check]; err != nil {
			response.Error = err.Error()
		}
		result.Reads = append(result.Reads, response)
	}
	result.Summary = strings.Join(r.summarize(name, faultsOf(found, check)), "; ")
	r.Results = append(r.Results, result)
}

// addMetrics reports the metrics.
func (r *diagnosisReport) addMetrics(found []finding) {
	type endpointMetrics struct {
		Endpoint string              `json:"endpoint"`
		Took     string              `json:"took"`
		Metrics  map[string][]string `json:"epMetrics"`
	}
	result := struct {
		Name    string            `json:"name"`
		Summary []string          `json:"summary"`
		List    []endpointMetrics `json:"epMetricsList"`
	}{Name: "metricsChecker", List: []endpointMetrics{}}
	for _, f := range found {
		if f.faults[checkMetrics] == nil {
			result.List = append(result.List, endpointMetrics{f.endpoint, f.took[2].String(), f.metrics})
		}
	}
	result.Summary = r.summarize(result.Name, faultsOf(found, checkMetrics))
	r.Results = append(r.Results, result)
}

// write writes the report.
func (r *diagnosisReport) write(s *cli.Session) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fail(exitError, err)
	}
	text = append(text, '\n')
	if path := s.String("output"); path != "" {
		err = os.WriteFile(path, text, 0o644) //nolint:gosec // a report to be sent to others
	} else {
		_, err = s.Out.Write(text)
	}
	if err != nil {
		return failf(exitError, "write the report: %w", err)
	}
	if len(r.faults) > 0 {
		return failf(exitError, "%s", strings.Join(r.faults, "\n"))
	}
	return nil
}
