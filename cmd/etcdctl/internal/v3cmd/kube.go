package v3cmd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

// kubeText is the format that shows what Kubernetes stores as YAML. A separate program,
// etcdctl-kube, which has Kubernetes' types, converts the values.
const kubeText = "kube"

const kubeProgram = "etcdctl-kube"

// kubeView shows values as YAML. A nil *kubeView shows them as they are.
type kubeView struct {
	in  io.Writer
	out *bufio.Reader
	cmd *exec.Cmd
}

// newKubeView starts etcdctl-kube if the format is kube; otherwise it returns nil. The program ends
// with this one, which closes its input.
func newKubeView(s *cli.Session) (*kubeView, error) {
	if s.String("write-out") != kubeText {
		return nil, nil
	}
	path, err := findKubeProgram()
	if err != nil {
		return nil, fail(exitFeature, err)
	}
	v := &kubeView{cmd: exec.CommandContext(s.Context, path)}
	v.cmd.Stderr = s.Err
	in, err := v.cmd.StdinPipe()
	if err != nil {
		return nil, fail(exitError, err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, fail(exitError, err)
	}
	if err := v.cmd.Start(); err != nil {
		return nil, failf(exitError, "start %s: %w", path, err)
	}
	v.in, v.out = in, bufio.NewReader(out)
	return v, nil
}

// findKubeProgram returns the path of etcdctl-kube: beside this program, or in $PATH.
func findKubeProgram() (string, error) {
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), kubeProgram)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(kubeProgram)
	if err != nil {
		return "", fmt.Errorf("--write-out=kube: the program %s is neither beside etcdctl nor in $PATH: install it, or build it with `make kube`", kubeProgram)
	}
	return path, nil
}

// yaml returns a value as YAML.
func (v *kubeView) yaml(value []byte) ([]byte, error) {
	if v == nil {
		return value, nil
	}
	request := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(value)), uint32(len(value)))
	if _, err := v.in.Write(append(request, value...)); err != nil {
		return nil, failf(exitError, "ask %s: %w", kubeProgram, errors.Join(err, v.cmd.Wait()))
	}
	var length [4]byte
	if _, err := io.ReadFull(v.out, length[:]); err != nil {
		return nil, failf(exitError, "ask %s: %w", kubeProgram, errors.Join(err, v.cmd.Wait()))
	}
	text := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(v.out, text); err != nil {
		return nil, failf(exitError, "ask %s: %w", kubeProgram, errors.Join(err, v.cmd.Wait()))
	}
	return text, nil
}

// valueSize is the end of what etcdctl-kube says of a value that it cannot decode.
var valueSize = regexp.MustCompile(`, \d+ bytes$`)

// kind returns what a value is, in a few words: "Pod v1", or what is said of a value that cannot be
// decoded.
func (v *kubeView) kind(value []byte) (string, error) {
	if v == nil {
		return "", nil
	}
	text, err := v.yaml(value)
	if err != nil {
		return "", err
	}
	var version, kind string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if after, ok := strings.CutPrefix(line, "apiVersion: "); ok {
			version = after
		} else if after, ok := strings.CutPrefix(line, "kind: "); ok {
			kind = after
		} else if after, ok := strings.CutPrefix(line, "# "); ok && kind == "" && version == "" {
			return valueSize.ReplaceAllString(after, ""), nil
		}
	}
	return strings.TrimSpace(kind + " " + version), nil
}

// kvs returns pairs with their values as YAML.
func (v *kubeView) kvs(list []*mvccpb.KeyValue) ([]*mvccpb.KeyValue, error) {
	if v == nil {
		return list, nil
	}
	shown := make([]*mvccpb.KeyValue, len(list))
	for i, kv := range list {
		text, err := v.yaml(kv.GetValue())
		if err != nil {
			return nil, err
		}
		shown[i] = &mvccpb.KeyValue{
			Key: kv.GetKey(), Value: text, CreateRevision: kv.GetCreateRevision(), ModRevision: kv.GetModRevision(), Version: kv.GetVersion(),
		}
	}
	return shown, nil
}

// kubeKV prints a pair whose value is YAML: a document with the key in a comment.
func (p *printer) kubeKV(kv *mvccpb.KeyValue, what string) {
	fmt.Fprintf(p, "---\n# %s  %srevision %d\n", kv.GetKey(), what, kv.GetModRevision())
	_, _ = p.Write(kv.GetValue()) // a bufio.Writer reports the error at Flush
}

// kubeGet is get in the format kube.
func kubeGet(s *cli.Session) error {
	p, err := begin(s, kubeText)
	if err != nil {
		return err
	}
	op, err := getOp(s)
	if err != nil {
		return err
	}
	view, err := newKubeView(s)
	if err != nil {
		return err
	}
	return call(s, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Do(ctx, op)
		if err != nil {
			return fail(exitError, err)
		}
		shown, err := view.kvs(r.Get().Kvs)
		if err != nil {
			return err
		}
		return p.print(response{simple: func(p *printer) {
			for _, kv := range shown {
				p.kubeKV(kv, "")
			}
		}})
	})
}

// events returns a response that prints the events of a watch in the format kube.
func (v *kubeView) events(events []*clientv3.Event) (a response, err error) {
	var pairs []*mvccpb.KeyValue
	var kinds []string
	for _, e := range events {
		if e.PrevKv != nil {
			pairs, kinds = append(pairs, e.PrevKv), append(kinds, e.Type.String()+" replaces ")
		}
		pairs, kinds = append(pairs, e.Kv), append(kinds, e.Type.String()+" ")
	}
	shown, err := v.kvs(pairs)
	for i, kv := range shown {
		if kinds[i] == "DELETE " {
			kv.Value = nil
		}
	}
	return response{simple: func(p *printer) {
		for i, kv := range shown {
			p.kubeKV(kv, kinds[i])
		}
	}}, err
}

// withKubeView is withClient for a command that has the format kube, too.
func withKubeView(s *cli.Session, do func(*clientv3.Client, *kubeView) error) error {
	return withClient(s, func(c *clientv3.Client) error {
		view, err := newKubeView(s)
		if err != nil {
			return err
		}
		return do(c, view)
	}, kubeText)
}
