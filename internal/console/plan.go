package console

import "fmt"

// Changes of the members.
const (
	changeAdd        = "add"
	changeAddLearner = "add_learner"
	changeRemove     = "remove"
	changePromote    = "promote"
	changeReplace    = "replace"
	changeMoveLeader = "move_leader"
)

type planRequest struct {
	Change string `json:"change"`
	Member uint64 `json:"member,string"`
}

// planResponse is what a change would do. The page shows its own texts for the codes.
type planResponse struct {
	Allowed  bool       `json:"allowed"`
	Reason   *remark    `json:"reason,omitempty"` // why it is not allowed
	Warnings []remark   `json:"warnings"`
	Steps    []remark   `json:"steps"`
	Before   quorumJSON `json:"before"`
	After    quorumJSON `json:"after"`
	// Successor is the member that becomes the leader before the leader is removed; 0 for none.
	Successor uint64 `json:"successor,string,omitempty"`
}

// remark is a sentence with a code for translations.
type remark struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

func remarkf(code, format string, args ...any) remark {
	return remark{code, fmt.Sprintf(format, args...)}
}

// planFor returns what a change would do, or an error if the request is not one. It refuses a
// change after which too few voters for a quorum are reachable, also when the server would not.
func planFor(members []memberJSON, in planRequest) (*planResponse, error) {
	p := &planResponse{Allowed: true, Warnings: []remark{}, Steps: []remark{}, Before: quorumOf(members)}
	p.After = p.Before
	var m *memberJSON
	for i := range members {
		if members[i].ID == in.Member {
			m = &members[i]
		}
	}
	switch in.Change {
	case changeAdd, changeAddLearner:
	case changeRemove, changePromote, changeReplace, changeMoveLeader:
		if m == nil {
			return nil, invalidf("member %d is not in the cluster", in.Member)
		}
	default:
		return nil, invalidf("change %q: want add, add_learner, remove, promote, replace or move_leader", in.Change)
	}
	map[string]func(*memberJSON, []memberJSON){
		changeAdd: p.add, changeAddLearner: p.addLearner, changeRemove: p.remove, changePromote: p.promote,
		changeReplace: p.replace, changeMoveLeader: p.moveLeader,
	}[in.Change](m, members)
	if p.Before.Tolerates < 0 && p.Allowed {
		p.refuse("no_quorum", "the cluster has no quorum: %d of %d voters are reachable, %d are needed", p.Before.Reachable, p.Before.Voters, p.Before.Needed)
	}
	return p, nil
}

func (p *planResponse) refuse(code, format string, args ...any) {
	reason := remarkf(code, format, args...)
	p.Allowed, p.Reason = false, &reason
}

func (p *planResponse) warn(code, format string, args ...any) {
	p.Warnings = append(p.Warnings, remarkf(code, format, args...))
}

func (p *planResponse) step(code, format string, args ...any) {
	p.Steps = append(p.Steps, remarkf(code, format, args...))
}

// add adds a voter, which is not reachable until it has started.
func (p *planResponse) add(_ *memberJSON, _ []memberJSON) {
	p.After = newQuorum(p.Before.Voters+1, p.Before.Reachable)
	p.step("add", "add the member as a voter")
	p.step("start", "start the new member with --initial-cluster-state=existing")
	switch lone := p.Before.Voters == 1; {
	case p.Before.Reachable < p.Before.Voters:
		p.refuse("unreachable_voters", "%d of %d voters are not reachable: repair or remove them first", p.Before.Voters-p.Before.Reachable, p.Before.Voters)
	case p.After.Tolerates < 0 && !lone:
		p.refuse("would_lose_quorum", "until the new member has started, %d of %d voters would be reachable and %d are needed", p.After.Reachable, p.After.Voters, p.After.Needed)
	case p.After.Tolerates < 0:
		p.warn("no_quorum_until_started", "until the new member has started, the cluster has no quorum and serves no writes: add a learner instead")
	case p.After.Voters%2 == 0:
		p.warn("even_voters", "%d voters tolerate no more failures than %d", p.After.Voters, p.Before.Voters)
	}
}

// addLearner adds a member without a vote: the quorum stays as it is.
func (p *planResponse) addLearner(_ *memberJSON, _ []memberJSON) {
	p.step("add_learner", "add the member as a learner, which has no vote")
	p.step("start", "start the new member with --initial-cluster-state=existing")
	p.step("promote", "promote it when it has caught up")
	if p.Before.Reachable < p.Before.Voters {
		p.refuse("unreachable_voters", "%d of %d voters are not reachable: repair or remove them first", p.Before.Voters-p.Before.Reachable, p.Before.Voters)
	}
}

// remove removes a member; the leader hands over its leadership before, so that no request waits
// for an election.
func (p *planResponse) remove(m *memberJSON, members []memberJSON) {
	if m.Role == roleLeader {
		p.handOver(members)
	}
	p.step("remove", "remove %s: its data is of no use afterwards", nameOf(m))
	if m.Self {
		p.warn("serves_page", "%s serves this page: open the console of another member afterwards", nameOf(m))
	}
	if m.Learner {
		return
	}
	p.After = without(p.Before, m)
	switch {
	case p.After.Voters == 0:
		p.refuse("only_member", "the only voter cannot be removed")
	case p.After.Tolerates < 0:
		p.refuse("would_lose_quorum", "without it, %d of %d voters would be reachable and %d are needed", p.After.Reachable, p.After.Voters, p.After.Needed)
	case p.After.Tolerates == 0:
		p.warn("no_failure_tolerated", "afterwards the cluster does not tolerate the failure of a member")
	}
}

// handOver makes a reachable voter the leader. Without one, the removal of the leader is refused
// anyway: no voter would remain.
func (p *planResponse) handOver(members []memberJSON) {
	for i := range members {
		if m := &members[i]; m.Role == roleFollower && m.Reachable {
			p.Successor = m.ID
			p.step("hand_over", "make %s the leader", nameOf(m))
			return
		}
	}
}

func without(q quorumJSON, m *memberJSON) quorumJSON {
	reachable := q.Reachable
	if m.Reachable && m.Role != roleUnstarted {
		reachable--
	}
	return newQuorum(q.Voters-1, reachable)
}

func (p *planResponse) promote(m *memberJSON, _ []memberJSON) {
	p.step("promote", "make %s a voter, if it has caught up", nameOf(m))
	if !m.Learner {
		p.refuse("not_learner", "%s is a voter already", nameOf(m))
		return
	}
	reachable := p.Before.Reachable
	if m.Reachable && m.Role != roleUnstarted {
		reachable++
	}
	p.After = newQuorum(p.Before.Voters+1, reachable)
	switch {
	case p.After.Tolerates < 0:
		p.refuse("would_lose_quorum", "afterwards %d of %d voters would be reachable and %d are needed", p.After.Reachable, p.After.Voters, p.After.Needed)
	case p.After.Voters%2 == 0:
		p.warn("even_voters", "%d voters tolerate no more failures than %d", p.After.Voters, p.Before.Voters)
	}
}

// replace removes a member and adds another one in its place, as a learner first.
func (p *planResponse) replace(m *memberJSON, members []memberJSON) {
	p.remove(m, members)
	p.step("add_learner", "add the new member as a learner, with the same or other peer URLs")
	p.step("start", "start it with an empty data directory and --initial-cluster-state=existing")
	p.step("promote", "promote it when it has caught up")
}

func (p *planResponse) moveLeader(m *memberJSON, _ []memberJSON) {
	p.step("move_leader", "make %s the leader", nameOf(m))
	switch {
	case m.Role == roleLeader:
		p.refuse("is_leader", "%s is the leader already", nameOf(m))
	case m.Learner || m.Role == roleUnstarted:
		p.refuse("no_vote", "%s has no vote, or has not started", nameOf(m))
	case !m.Reachable:
		p.refuse("unreachable", "%s is not reachable", nameOf(m))
	}
}
