package v3cmd

import (
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"cairn/cmd/etcdctl/internal/cli"
)

// statusTitles are the columns of `endpoint status`, as etcdctl 3.7 has them.
var statusTitles = []string{
	"ENDPOINT", "ID", "VERSION", "STORAGE VERSION", "DB SIZE", "IN USE", "PERCENTAGE NOT IN USE", "QUOTA", "IS LEADER",
	"IS LEARNER", "RAFT TERM", "RAFT INDEX", "RAFT APPLIED INDEX", "ERRORS", "DOWNGRADE TARGET VERSION", "DOWNGRADE ENABLED",
}

// row returns the status under statusTitles.
func (st status) row() []string {
	r := st.Status
	return []string{
		st.Endpoint, fmt.Sprintf("%x", r.GetHeader().GetMemberId()), r.GetVersion(), r.GetStorageVersion(),
		cli.FormatBytes(r.GetDbSize()), cli.FormatBytes(r.GetDbSizeInUse()), notInUse(r), cli.FormatBytes(r.GetDbSizeQuota()),
		strconv.FormatBool(r.GetLeader() == r.GetHeader().GetMemberId()), strconv.FormatBool(r.GetIsLearner()),
		fmt.Sprint(r.GetRaftTerm()), fmt.Sprint(r.GetRaftIndex()), fmt.Sprint(r.GetRaftAppliedIndex()), strings.Join(r.GetErrors(), ", "),
		r.GetDowngradeInfo().GetTargetVersion(), strconv.FormatBool(r.GetDowngradeInfo().GetEnabled()),
	}
}

// notInUse returns the share of the database's size that is not in use, in percent.
func notInUse(r *etcdserverpb.StatusResponse) string {
	if r.GetDbSize() <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%d%%", 100-r.GetDbSizeInUse()*100/r.GetDbSize())
}

func (st status) printFields(p *printer) {
	r := st.Status
	p.header(r.GetHeader())
	fmt.Fprintf(p, "\"Version\" : %q\n\"StorageVersion\" : %q\n", r.GetVersion(), r.GetStorageVersion())
	fmt.Fprintf(p, "\"DBSize\" : %d\n\"DBSizeInUse\" : %d\n\"DBSizeQuota\" : %d\n", r.GetDbSize(), r.GetDbSizeInUse(), r.GetDbSizeQuota())
	fmt.Fprintf(p, "\"Leader\" : %s\n\"IsLearner\" : %t\n", p.id(r.GetLeader()), r.GetIsLearner())
	fmt.Fprintf(p, "\"RaftIndex\" : %d\n\"RaftTerm\" : %d\n\"RaftAppliedIndex\" : %d\n", r.GetRaftIndex(), r.GetRaftTerm(), r.GetRaftAppliedIndex())
	fmt.Fprintf(p, "\"Errors\" : %v\n\"Endpoint\" : %q\n", r.GetErrors(), st.Endpoint)
	fmt.Fprintf(p, "\"DowngradeTargetVersion\" : %q\n\"DowngradeEnabled\" : %t\n\n",
		r.GetDowngradeInfo().GetTargetVersion(), r.GetDowngradeInfo().GetEnabled())
}

func statusResponse(list []status) response {
	rows := make([][]string, len(list))
	for i, st := range list {
		rows[i] = st.row()
	}
	return response{
		json:  list,
		table: func() (header []string, content [][]string) { return statusTitles, rows },
		simple: func(p *printer) {
			for _, row := range rows {
				fmt.Fprintln(p, strings.Join(row, ", "))
			}
		},
		fields: func(p *printer) {
			for _, st := range list {
				st.printFields(p)
			}
		},
	}
}
