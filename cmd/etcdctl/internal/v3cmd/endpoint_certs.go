package v3cmd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cairn/cmd/etcdctl/internal/cli"
	"cairn/cmd/etcdctl/internal/reach"
)

var endpointCertsCommand = cli.Command{
	Path: "endpoint certs", Beyond: true,
	Short:   "print the certificate of each endpoint",
	Long:    "Prints endpoint, subject, names it is valid for, issuer, expiry, days left, and whether the certificate is accepted. Exits with 1\nif one is not.",
	Example: "$ etcdctl --endpoints https://10.0.0.1:2379 --cacert certs/ca.crt endpoint certs -w table",
	Flags:   clusterFlag, Run: endpointCerts,
}

// endpointCert is the certificate of an endpoint; its JSON is for scripts.
type endpointCert struct {
	Endpoint string     `json:"endpoint"`
	Subject  string     `json:"subject,omitempty"`
	SANs     []string   `json:"sans,omitempty"`
	Issuer   string     `json:"issuer,omitempty"`
	NotAfter *time.Time `json:"not_after,omitempty"`
	DaysLeft int        `json:"days_left"`
	Status   string     `json:"status"`
}

func endpointCerts(s *cli.Session) error {
	if len(s.Args) != 0 {
		return failf(exitArgs, "endpoint certs takes no arguments")
	}
	p, err := begin(s, jsonText, table)
	if err != nil {
		return err
	}
	endpoints, config, err := asked(s)
	if err != nil {
		return err
	}
	o := reach.Options{
		TLS: config.TLS, ForceTLS: config.TLS != nil, HasCert: s.String("cert") != "",
		CAOption: "--cacert", CertOption: "--cert", KeyOption: "--key",
		Timeout: config.DialTimeout,
	}
	var list []endpointCert
	for _, endpoint := range endpoints {
		entry := endpointCert{Endpoint: endpoint}
		cert, problem := reach.Certificate(s.Context, endpoint, o)
		if entry.Status = problem; problem == "" {
			entry.Status = "ok"
		}
		if cert != nil {
			entry.Subject, entry.SANs, entry.Issuer = cert.Subject.String(), reach.SANs(cert), cert.Issuer.String()
			entry.NotAfter, entry.DaysLeft = &cert.NotAfter, int(time.Until(cert.NotAfter).Hours()/24)
		}
		list = append(list, entry)
	}
	if err := p.print(certsResponse(list)); err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(e endpointCert) bool { return e.Status != "ok" }) {
		return &cli.Exit{Code: exitError}
	}
	return nil
}

func certsResponse(list []endpointCert) response {
	rows := make([][]string, len(list))
	for i, e := range list {
		expires, days := "", ""
		if e.NotAfter != nil {
			expires, days = e.NotAfter.UTC().Format(time.RFC3339), fmt.Sprint(e.DaysLeft)
		}
		rows[i] = []string{e.Endpoint, e.Subject, strings.Join(e.SANs, " "), e.Issuer, expires, days, e.Status}
	}
	return response{
		json: list,
		table: func() (header []string, content [][]string) {
			return []string{"ENDPOINT", "SUBJECT", "VALID FOR", "ISSUER", "EXPIRES", "DAYS LEFT", "STATUS"}, rows
		},
		simple: func(p *printer) {
			for _, row := range rows {
				fmt.Fprintln(p, strings.Join(row, ", "))
			}
		},
	}
}
