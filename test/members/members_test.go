// Package members tests features that involve several members of a cluster: a user's token is valid
// on all of them, and a lost member is replaced by one command.
//
// It owns its clusters: real processes on free ports of the loopback. It does not test replication
// itself.
//
// Concurrency: none; each test has its own cluster.
package members

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"cairn/test/harness"
	"cairn/test/process"
)

func TestMain(m *testing.M) { harness.Main(m) }

// patience is the limit of every wait. It is generous, so that no test fails on a busy machine.
const patience = 2 * time.Minute

// cluster is three members.
type cluster struct {
	t     *testing.T
	ctx   context.Context
	dir   string
	peers string // --initial-cluster
	all   []*member
}

type member struct {
	name, client, peer string
	proc               *process.Process
	log                *harness.Buffer
}

func start(t *testing.T) *cluster {
	t.Helper()
	if other := harness.Reference(t); other != "" {
		t.Skip("these are tests of cairn's clusters, not of " + other)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	c := &cluster{t: t, ctx: ctx, dir: t.TempDir()}
	var peers []string
	for i := range 3 {
		m := &member{name: fmt.Sprintf("n%d", i+1), client: "http://" + free(t), peer: "http://" + free(t), log: &harness.Buffer{}}
		c.all = append(c.all, m)
		peers = append(peers, m.name+"="+m.peer)
	}
	c.peers = strings.Join(peers, ",")
	t.Cleanup(func() {
		for _, m := range c.all {
			m.kill()
			if t.Failed() {
				log := m.log.String()
				t.Logf("end of the log of %s:\n%s", m.name, log[max(0, len(log)-3000):])
			}
		}
	})
	for _, m := range c.all {
		c.run(m, "ETCD_INITIAL_CLUSTER="+c.peers, "ETCD_NAME="+m.name, "ETCD_INITIAL_ADVERTISE_PEER_URLS="+m.peer)
	}
	for _, m := range c.all {
		c.eventually("put through "+m.name, func(ctx context.Context) error {
			_, err := c.dial(m).Put(ctx, "k", m.name)
			return err
		})
	}
	return c
}

func free(t *testing.T) string {
	t.Helper()
	return "127.0.0.1:" + harness.FreePort(t)
}

// run starts a member's process.
func (c *cluster) run(m *member, env ...string) {
	c.t.Helper()
	cmd := exec.Command(harness.Etcd(c.t), "--data-dir", filepath.Join(c.dir, m.name), "--bcrypt-cost=4",
		"--listen-client-urls", m.client, "--advertise-client-urls", m.client, "--listen-peer-urls", m.peer)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = m.log, m.log
	proc, err := process.Start(cmd)
	if err != nil {
		c.t.Fatal(err)
	}
	m.proc = proc
}

func (m *member) kill() {
	if m.proc != nil {
		_ = m.proc.Signal(syscall.SIGKILL)
		<-m.proc.Exited()
	}
}

// dial returns a client of members.
func (c *cluster) dial(members ...*member) *clientv3.Client { return c.bearer("", members...) }

// bearer returns a client with a fixed token, which it does not replace when it is refused.
func (c *cluster) bearer(token string, members ...*member) *clientv3.Client {
	c.t.Helper()
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.client)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: patience, Logger: zap.NewNop(), Token: token, DialOptions: []grpc.DialOption{harness.Patient()},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// addLearner adds a learner. Changes are refused as unhealthy until the members have been connected
// for some time.
func (c *cluster) addLearner(client *clientv3.Client, m *member) (added *clientv3.MemberAddResponse) {
	c.t.Helper()
	c.eventually("add a learner", func(ctx context.Context) (err error) {
		added, err = client.MemberAddAsLearner(ctx, []string{m.peer})
		if !errors.Is(err, rpctypes.ErrPeerURLExist) {
			return err
		}
		// An earlier attempt that timed out had been applied.
		list, err := client.MemberList(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list.Members, func(l *etcdserverpb.Member) bool { return slices.Contains(l.PeerURLs, m.peer) })
		added = &clientv3.MemberAddResponse{Header: list.Header, Member: list.Members[i], Members: list.Members}
		return nil
	})
	return added
}

// eventually retries until it succeeds.
func (c *cluster) eventually(what string, do func(context.Context) error) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %v", what, err)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTokensOnEveryMember gets a token from each member and uses it on each at once. The users are
// created through one member, and a password change through another invalidates tokens on all.
func TestTokensOnEveryMember(t *testing.T) {
	c := start(t)
	clients := make([]*clientv3.Client, len(c.all))
	for i, m := range c.all {
		clients[i] = c.dial(m)
	}
	_, err := clients[0].UserAdd(c.ctx, "root", "rp")
	_, err1 := clients[0].UserGrantRole(c.ctx, "root", "root")
	_, err2 := clients[0].AuthEnable(c.ctx)
	must(t, err, err1, err2)
	with := func(token string) context.Context {
		return metadata.AppendToOutgoingContext(c.ctx, rpctypes.TokenFieldNameGRPC, token)
	}
	var tokens []string
	for i, from := range clients {
		r, err := from.Authenticate(c.ctx, "root", "rp")
		if err != nil {
			t.Fatalf("log in at %s: %v", c.all[i].name, err)
		}
		tokens = append(tokens, r.Token)
		for j, to := range clients {
			if _, err := to.Get(with(r.Token), "k", clientv3.WithSerializable()); err != nil {
				t.Errorf("serializable get at %s by a token of %s: %v", c.all[j].name, c.all[i].name, err)
			}
			if _, err := to.Put(with(r.Token), "k", "v"); err != nil {
				t.Errorf("put at %s by a token of %s: %v", c.all[j].name, c.all[i].name, err)
			}
		}
		// Users and roles change between two logins.
		_, err = clients[2-i].RoleAdd(with(r.Token), fmt.Sprint("r", i))
		must(t, err)
	}
	// A restarted member still accepts them.
	c.all[2].kill()
	c.run(c.all[2], "ETCD_INITIAL_CLUSTER="+c.peers, "ETCD_NAME=n3", "ETCD_INITIAL_ADVERTISE_PEER_URLS="+c.all[2].peer)
	c.eventually("put at n3 after its restart", func(ctx context.Context) error {
		_, err := clients[2].Put(metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, tokens[0]), "k", "v")
		return err
	})
	_, err = clients[1].UserChangePassword(with(tokens[0]), "root", "new")
	must(t, err)
	for i := range clients {
		for j, token := range tokens {
			if _, err := c.bearer(token, c.all[i]).Put(c.ctx, "k", "v"); !errors.Is(err, rpctypes.ErrInvalidAuthToken) {
				t.Errorf("put at %s by a token of %s from before the password changed: %v", c.all[i].name, c.all[j].name, err)
			}
		}
	}
	if _, err := clients[0].Authenticate(c.ctx, "root", "rp"); !errors.Is(err, rpctypes.ErrAuthFailed) {
		t.Errorf("log in by the old password: %v", err)
	}
	_, err = clients[2].Authenticate(c.ctx, "root", "new")
	must(t, err)
}

// replace runs etcdctl member replace in the background.
func (c *cluster) replace(args ...string) (*process.Process, *harness.Buffer) {
	c.t.Helper()
	cmd := exec.Command(harness.Etcdctl(c.t), append([]string{"member", "replace"}, args...)...)
	cmd.Env = append(append(os.Environ(), harness.Patience...), "ETCDCTL_API=3", "ETCDCTL_USER=root:rp", "ETCDCTL_ENDPOINTS="+c.all[0].client+","+c.all[1].client)
	return harness.Launch(c.t, cmd)
}

// replaceUntil is replace until the command has written a text. On a busy machine the cluster may
// have no leader for a moment, and the command fails: then it continues as its output explains.
func (c *cluster) replaceUntil(text string, args ...string) (proc *process.Process, out *harness.Buffer) {
	c.t.Helper()
	proc, out = c.replace(args...)
	c.eventually("etcdctl member replace writes "+text, func(context.Context) error {
		ended := !proc.Running() // before its output is complete
		if strings.Contains(out.String(), text) {
			return nil
		}
		err := errors.New(out.String())
		if ended {
			if again := goOn(out); again != nil {
				args = again
			}
			proc, out = c.replace(args...)
		}
		return err
	})
	return proc, out
}

// goOn returns the arguments with which an interrupted etcdctl member replace continues, nil before
// it has changed anything.
func goOn(out *harness.Buffer) []string {
	m := regexp.MustCompile(`etcdctl member replace (\S+) --peer-urls (\S+)`).FindStringSubmatch(out.String())
	if m == nil {
		return nil
	}
	return []string{m[1], "--peer-urls", m[2]}
}

// TestMemberReplace loses a member with its data, replaces it, and kills the command in the middle.
// The new member must have the users and roles, too, which in etcd it once lacked (issues 14571 and
// 14648).
func TestMemberReplace(t *testing.T) {
	c := start(t)
	lost := c.all[2]
	first := c.dial(c.all[0])
	_, err := first.UserAdd(c.ctx, "root", "rp")
	_, err1 := first.UserGrantRole(c.ctx, "root", "root")
	_, err2 := first.UserAdd(c.ctx, "u", "up")
	_, err3 := first.AuthEnable(c.ctx)
	must(t, err, err1, err2, err3)
	rootToken, err := first.Authenticate(c.ctx, "root", "rp")
	userToken, err1 := first.Authenticate(c.ctx, "u", "up")
	must(t, err, err1)
	proc, out := c.replace(lost.name)
	if state, err := proc.Await(c.ctx); err != nil || state.Success() || !strings.Contains(out.String(), "is not lost") {
		t.Errorf("replacing a member that responds: %v, %v\n%s", state, err, out)
	}
	lost.kill()
	must(t, os.RemoveAll(filepath.Join(c.dir, lost.name)))
	// The new member cannot be started before the old one is replaced. It leaves no data behind, as
	// the start below shows.
	c.run(lost, "ETCD_NAME="+lost.name, "ETCD_INITIAL_CLUSTER="+c.peers, "ETCD_INITIAL_ADVERTISE_PEER_URLS="+lost.peer, "ETCD_INITIAL_CLUSTER_STATE=existing")
	if state, err := lost.proc.Await(c.ctx); err != nil || state.Success() || !strings.Contains(lost.log.String(), "etcdctl member replace") {
		t.Errorf("a new member that starts too early: %v, %v\n%s", state, err, lost.log)
	}

	proc, out = c.replaceUntil("added learner", lost.name)
	must(t, proc.Signal(syscall.SIGKILL))
	<-proc.Exited()
	again := goOn(out)
	if again == nil {
		t.Fatalf("it does not explain how to continue:\n%s", out)
	}
	proc, out = c.replaceUntil("waiting until it has caught up", again...)
	var env []string
	for _, m := range regexp.MustCompile(`(?m)^(ETCD_\w+)="(.*)"$`).FindAllStringSubmatch(out.String(), -1) {
		env = append(env, m[1]+"="+m[2])
	}
	c.run(lost, env...)
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	if state, err := proc.Await(ctx); err != nil || !state.Success() {
		t.Fatalf("member replace: %v, %v\n%s", state, err, out)
	}
	members, err := c.bearer(rootToken.Token, c.all[0]).MemberList(c.ctx)
	must(t, err)
	for _, m := range members.Members {
		if m.IsLearner || m.Name == "" {
			t.Errorf("after the replacement: %+v", m)
		}
	}
	if len(members.Members) != 3 {
		t.Errorf("%d members", len(members.Members))
	}
	c.eventually("get from the new member", func(ctx context.Context) error {
		r, err := c.bearer(rootToken.Token, lost).Get(ctx, "k", clientv3.WithSerializable())
		if err == nil && (len(r.Kvs) == 0 || string(r.Kvs[0].Value) != "n3") {
			err = fmt.Errorf("got %v", r.Kvs)
		}
		return err
	})
	if _, err := c.bearer(userToken.Token, lost).Get(c.ctx, "k", clientv3.WithSerializable()); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("get from the new member by a user without permission: %v", err)
	}
	if _, err := c.dial(lost).Get(c.ctx, "k", clientv3.WithSerializable()); !errors.Is(err, rpctypes.ErrUserEmpty) {
		t.Errorf("get from the new member without credentials: %v", err)
	}
	// The new member has a vote: the cluster works without one of the others.
	c.all[1].kill()
	c.eventually("put without n2", func(ctx context.Context) error {
		_, err := c.bearer(rootToken.Token, c.all[0], lost).Put(ctx, "k", "v")
		return err
	})
}
