package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var memberReplaceCommand = cli.Command{
	Path: "member replace", Args: "<name>", Short: "replace a failed member by a new one",
	Long: "Removes the member, adds a learner in its place, prints the environment variables for the new etcd, waits until it has started\n" +
		"and has all data, and promotes it. A member that still answers is not replaced without --force, and no member is removed if the\n" +
		"others would lose their quorum. The command can be interrupted: run again with the --peer-urls that it prints, it continues.",
	Example: "$ etcdctl member replace n2\nmember n2 (9bf1b35fc7761a23) does not answer; 2 of the other 2 voters do\nremoved 9bf1b35fc7761a23 …",
	Flags: func(flags *pflag.FlagSet) {
		flags.String("peer-urls", "", "peer `URLS` of the new member, separated by commas (default: those of the old one)")
		flags.Bool("force", false, "replace a member that still answers; stop its etcd yourself")
		flags.Duration("wait", 0, "maximum `time` to wait for the new member; 0 means no limit")
	},
	Run: memberReplace,
}

// replacement is one run of `member replace`. Its only source for the progress made so far is the
// cluster.
type replacement struct {
	s    *cli.Session
	c    *clientv3.Client
	name string
	urls []string // of the new member; empty until they are known
}

// stepInterval is the time between two attempts at a step, and stepPatience the time for all.
const (
	stepInterval = 100 * time.Millisecond
	stepPatience = 30 * time.Second
)

// waitInterval is how often the leader is asked whether the learner has caught up.
const waitInterval = 500 * time.Millisecond

func memberReplace(s *cli.Session) error {
	if _, err := begin(s); err != nil {
		return err
	}
	if len(s.Args) != 1 {
		return failf(exitArgs, "member replace needs the name of a member as its one argument")
	}
	r := &replacement{s: s, name: s.Args[0]}
	if text := s.String("peer-urls"); text != "" {
		r.urls = strings.Split(text, ",")
	}
	var err error
	if r.c, err = connect(s); err != nil {
		return err
	}
	defer r.c.Close()
	learner, members, err := r.place()
	if err != nil {
		return err
	}
	if learner == nil {
		return nil // replaced already
	}
	fmt.Fprintf(s.Out, "start the new member with an empty data directory, the options of the old one, and:\n\n%s\n", startVariables(r.name, learner, members))
	fmt.Fprintf(s.Out, "waiting until it has caught up; interrupted, go on with: etcdctl member replace %s --peer-urls %s\n", r.name, strings.Join(learner.PeerURLs, ","))
	return r.promote(learner.ID)
}

// list returns the members as a majority knows them.
func (r *replacement) list() ([]*etcdserverpb.Member, error) {
	ctx, cancel := limited(r.s)
	defer cancel()
	resp, err := r.c.MemberList(ctx)
	if err != nil {
		return nil, failf(exitError, "list members: %w", err)
	}
	return resp.Members, nil
}

// place removes the member and adds a learner in its place, as far as necessary, and returns the
// learner.
func (r *replacement) place() (learner *etcdserverpb.Member, members []*etcdserverpb.Member, err error) {
	if learner, members, err = r.added(); err != nil {
		return nil, nil, err
	}
	if learner != nil {
		fmt.Fprintf(r.s.Out, "learner %x is in the place of %s already\n", learner.ID, r.name)
		return learner, members, nil
	}
	i := slices.IndexFunc(members, func(m *etcdserverpb.Member) bool { return m.Name == r.name })
	switch {
	case i >= 0 && r.done(members[i]):
		fmt.Fprintf(r.s.Out, "member %s (%x) is a voter at these URLs and answers: there is nothing to do\n", r.name, members[i].ID)
		return nil, nil, nil
	case i >= 0:
		if err := r.remove(members, members[i]); err != nil {
			return nil, nil, err
		}
	case len(r.urls) == 0:
		return nil, nil, failf(exitError, "there is no member %q among %s: if it has been removed already, give --peer-urls for the new one", r.name, names(members))
	}
	return r.add()
}

// is reports whether a member is the new one. It has no name until it is started.
func (r *replacement) is(m *etcdserverpb.Member) bool {
	return m.Name == r.name || m.Name == "" && len(r.urls) > 0 && sameSet(m.PeerURLs, r.urls)
}

// done reports whether a voter of this name is the new member: it has the --peer-urls, and answers.
func (r *replacement) done(m *etcdserverpb.Member) bool {
	return len(r.urls) > 0 && sameSet(m.PeerURLs, r.urls) && !r.s.Bool("force") && r.answers(m)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func names(members []*etcdserverpb.Member) string {
	var list []string
	for _, m := range members {
		list = append(list, fmt.Sprintf("%s (%x)", m.Name, m.ID))
	}
	return strings.Join(list, ", ")
}

// remove removes the old member, if the others keep their quorum.
func (r *replacement) remove(members []*etcdserverpb.Member, old *etcdserverpb.Member) error {
	var voters, alive int // but the old one
	for _, m := range members {
		if m.ID == old.ID || m.IsLearner {
			continue
		}
		if voters++; r.answers(m) {
			alive++
		}
	}
	oldAlive := r.answers(old)
	state := "does not answer"
	if oldAlive {
		state = "answers"
	}
	fmt.Fprintf(r.s.Out, "member %s (%x) %s; %d of the other %d voters do\n", r.name, old.ID, state, alive, voters)
	switch left := voters/2 + 1; {
	case oldAlive && !r.s.Bool("force"):
		return failf(exitError, "member %s is not lost: stop its etcd first, or replace it with --force", r.name)
	case voters == 0:
		return failf(exitError, "member %s is the only one: restore a backup (etcdctl help snapshot restore) instead", r.name)
	case alive < left:
		return failf(exitError, "%d of the other %d voters answer, and %d are needed to go on without %s: start the others first, or start one of them with --force-new-cluster", alive, voters, left, r.name)
	case !old.IsLearner && !oldAlive && alive < (voters+1)/2+1:
		return failf(exitError, "%d of %d voters answer, and %d are needed to change the members: start the others first, or start one of them with --force-new-cluster", alive, voters+1, (voters+1)/2+1)
	}
	if len(r.urls) == 0 {
		r.urls = old.PeerURLs
	}
	if err := r.removeByID(old.ID); err != nil {
		return failf(exitError, "remove member %s (%x): %w", r.name, old.ID, err)
	}
	fmt.Fprintf(r.s.Out, "removed %x; interrupted, go on with: etcdctl member replace %s --peer-urls %s\n", old.ID, r.name, strings.Join(r.urls, ","))
	return nil
}

// answers reports whether a member answers with its own ID at one of its client URLs.
func (r *replacement) answers(m *etcdserverpb.Member) bool { return statusOf(r.s, r.c, m) != nil }

// try repeats a step until it returns false, at most for stepPatience.
func (r *replacement) try(step func() (again bool, err error)) error {
	patience, cancel := context.WithTimeout(r.s.Context, stepPatience)
	defer cancel()
	ticker := time.NewTicker(stepInterval)
	defer ticker.Stop()
	for {
		again, err := step()
		if !again || patience.Err() != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-patience.Done():
		}
	}
}

// mayBeExecuted reports whether a change of the members may have been made although its request
// failed: it timed out, or the member that made it stopped.
func mayBeExecuted(err error) bool { return unreachable(err) && !errors.Is(err, rpctypes.ErrUnhealthy) }

// removeByID removes a member. After an attempt without a response, the next one finds out whether
// the member was removed.
func (r *replacement) removeByID(id uint64) error {
	return r.try(func() (again bool, err error) {
		ctx, cancel := limited(r.s)
		defer cancel()
		_, err = r.c.MemberRemove(ctx, id)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return false, nil
		}
		return mayBeExecuted(err), err
	})
}

// add adds the learner. If its URLs are taken it looks for the learner in the list: an attempt
// without a response, or one that the client library has repeated, may have added it.
func (r *replacement) add() (learner *etcdserverpb.Member, members []*etcdserverpb.Member, err error) {
	err = r.try(func() (again bool, err error) {
		resp, err := r.addOnce()
		if err == nil {
			learner, members = resp.Member, resp.Members
			return false, nil
		}
		if errors.Is(err, rpctypes.ErrPeerURLExist) {
			var listErr error
			if learner, members, listErr = r.added(); learner != nil || listErr != nil {
				return listErr != nil, listErr
			}
		}
		return mayBeExecuted(err) || r.addLater(err), err
	})
	if err != nil {
		return nil, nil, failf(exitError, "add a learner at %s: %w", strings.Join(r.urls, ","), err)
	}
	fmt.Fprintf(r.s.Out, "added learner %x at %s\n", learner.ID, strings.Join(r.urls, ","))
	return learner, members, nil
}

// added returns the learner at the new member's URLs, if the list has it.
func (r *replacement) added() (learner *etcdserverpb.Member, members []*etcdserverpb.Member, err error) {
	members, err = r.list()
	if i := slices.IndexFunc(members, func(m *etcdserverpb.Member) bool { return m.IsLearner && r.is(m) }); i >= 0 {
		learner = members[i]
	}
	return learner, members, err
}

func (r *replacement) addOnce() (*clientv3.MemberAddResponse, error) {
	ctx, cancel := limited(r.s)
	defer cancel()
	return r.c.MemberAddAsLearner(ctx, r.urls)
}

// addLater reports whether an addition that was refused can succeed soon: the members must have
// been connected for some seconds, and a member that has not applied the removal yet still has the
// URLs.
func (r *replacement) addLater(err error) bool {
	return errors.Is(err, rpctypes.ErrUnhealthy) || errors.Is(err, rpctypes.ErrPeerURLExist) && r.free()
}

// free reports whether no member has one of the new member's URLs.
func (r *replacement) free() bool {
	members, err := r.list()
	return err == nil && !slices.ContainsFunc(members, func(m *etcdserverpb.Member) bool {
		return slices.ContainsFunc(m.PeerURLs, func(u string) bool { return slices.Contains(r.urls, u) })
	})
}

// promote waits until the learner has caught up, and gives it its vote.
func (r *replacement) promote(id uint64) error {
	waiting := r.s.Context
	if wait := value(r.s.Flags.GetDuration("wait")); wait > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(waiting, wait)
		defer cancel()
	}
	again := time.NewTicker(waitInterval)
	defer again.Stop()
	noticed := false
	for {
		done, err := r.promoteOnce(id)
		switch {
		case done:
			fmt.Fprintf(r.s.Out, "member %s (%x) has caught up and is a voter now\n", r.name, id)
			return nil
		case errors.Is(err, rpctypes.ErrMemberNotFound), errors.Is(err, rpctypes.ErrPermissionDenied):
			return failf(exitError, "promote %x: %w", id, err)
		case errors.Is(err, errNoAnswer) && !noticed:
			noticed = true
			fmt.Fprintf(r.s.Out, "%v: start it; if it has lost its data, run `etcdctl member remove %x` and this command again; "+
				"if it runs and only this command cannot reach it, use `etcdctl member promote %x`\n", err, id, id)
		}
		select {
		case <-again.C:
		case <-waiting.Done():
			return failf(exitInterrupted, "learner %x has not caught up yet (%w)", id, err)
		}
	}
}

// promoteOnce promotes the learner if it answers. The leader alone cannot know: it remembers how
// far a learner was that has since been lost.
func (r *replacement) promoteOnce(id uint64) (done bool, err error) {
	members, err := r.list()
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(members, func(m *etcdserverpb.Member) bool { return m.ID == id })
	switch {
	case i < 0:
		return false, rpctypes.ErrMemberNotFound
	case !members[i].IsLearner: // promoted by another client, or by an attempt without a response
		return true, nil
	}
	if err := learnerAnswers(r.s, r.c, members, members[i]); err != nil {
		return false, err
	}
	ctx, cancel := limited(r.s)
	defer cancel()
	_, err = r.c.MemberPromote(ctx, id)
	return err == nil || errors.Is(err, rpctypes.ErrMemberNotLearner), err
}
