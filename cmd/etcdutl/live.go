package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// liveFlags name a running member to take a snapshot of.
type liveFlags struct {
	endpoint           string
	user               string
	cacert             string
	cert, key          string
	insecureSkipVerify bool
}

func (f *liveFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.endpoint, "endpoints", "", "take a snapshot of the running member at this endpoint, instead of a file or directory")
	flags.StringVar(&f.user, "user", "", "with --endpoints: authenticate as username:password")
	flags.StringVar(&f.cacert, "cacert", "", "with --endpoints: verify the member's certificate with the CA certificates in this file")
	flags.StringVar(&f.cert, "cert", "", "with --endpoints: client certificate file")
	flags.StringVar(&f.key, "key", "", "with --endpoints: key file of the client certificate")
	flags.BoolVar(&f.insecureSkipVerify, "insecure-skip-tls-verify", false, "with --endpoints: do not verify the member's certificate (for tests only)")
}

// liveDialTimeout is how long a connection to the member may take.
const liveDialTimeout = 10 * time.Second

// snapshot saves a snapshot of the member to a file in the directory for temporary files. remove
// removes it.
func (f *liveFlags) snapshot(ctx context.Context) (path string, remove func() error, err error) {
	config, err := f.config()
	if err != nil {
		return "", nil, err
	}
	c, err := clientv3.New(config)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", f.endpoint, err)
	}
	defer c.Close()
	dir, err := os.MkdirTemp("", ".etcdutl-")
	if err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	path = filepath.Join(dir, "snapshot.db")
	if err := f.save(ctx, c, path); err != nil {
		return "", nil, errors.Join(fmt.Errorf("snapshot of %s: %w", f.endpoint, err), remove())
	}
	return path, remove, nil
}

// save waits for the member's response to a status first, since a snapshot waits for a connection
// as long as it takes.
func (f *liveFlags) save(ctx context.Context, c *clientv3.Client, path string) (err error) {
	asked, cancel := context.WithTimeout(ctx, liveDialTimeout)
	defer cancel()
	if _, err := c.Status(asked, f.endpoint); err != nil {
		return err
	}
	in, err := c.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (f *liveFlags) config() (config clientv3.Config, err error) {
	if strings.Contains(f.endpoint, ",") {
		return config, usageError{fmt.Errorf("--endpoints=%s: want one endpoint: a snapshot is the state of one member", f.endpoint)}
	}
	config = clientv3.Config{Endpoints: []string{f.endpoint}, DialTimeout: liveDialTimeout, Logger: zap.NewNop()}
	if f.user != "" {
		name, password, given := strings.Cut(f.user, ":")
		if !given {
			return config, usageError{errors.New("--user: want username:password")}
		}
		config.Username, config.Password = name, password
	}
	if f.cacert == "" && f.cert == "" && !f.insecureSkipVerify && !strings.HasPrefix(f.endpoint, "https://") {
		return config, nil
	}
	config.TLS = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.insecureSkipVerify}
	if f.cacert != "" {
		pem, err := os.ReadFile(f.cacert)
		if err != nil {
			return config, fmt.Errorf("--cacert: %w", err)
		}
		config.TLS.RootCAs = x509.NewCertPool()
		if !config.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return config, fmt.Errorf("--cacert=%s: the file has no certificate in PEM", f.cacert)
		}
	}
	if f.cert != "" || f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return config, fmt.Errorf("--cert=%s, --key=%s: %w", f.cert, f.key, err)
		}
		config.TLS.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
