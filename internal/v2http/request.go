package v2http

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"cairn/internal/budget"
	"cairn/internal/v2tree"
)

// request has the parameters of a request to /v2/keys.
type request struct {
	value     string
	prevValue string
	prevIndex uint64
	ttl       uint64
	hasTTL    bool
	exist     existence

	waitIndex uint64

	recursive, wait, stream, dir, quorum, refresh, noValueOnSuccess bool
}

// existence is the value of prevExist.
type existence byte

const (
	existAny existence = iota
	existTrue
	existFalse
)

// parseRequest parses and checks all parameters, whether or not the method uses them. They are
// checked in etcd's order, which determines the error when there are several.
func parseRequest(r *http.Request, memory *bodyMemory) (q request, err error) {
	f := form{memory: memory}
	if err := f.read(r); errors.Is(err, budget.ErrExhausted) {
		return q, err
	} else if err != nil {
		return q, refuse(codeInvalidForm, err.Error())
	}
	var sorted bool
	for _, number := range [...]struct {
		name  name
		value *uint64
	}{{nPrevIndex, &q.prevIndex}, {nWaitIndex, &q.waitIndex}} {
		if f.has(number.name) {
			if *number.value, err = strconv.ParseUint(f.values[number.name], 10, 64); err != nil {
				return q, refuse(codeIndexNaN, invalidValue(number.name))
			}
		}
	}
	for _, flag := range [...]struct {
		name  name
		value *bool
	}{
		{nRecursive, &q.recursive},
		{nSorted, &sorted},
		{nWait, &q.wait},
		{nDir, &q.dir},
		{nQuorum, &q.quorum},
		{nStream, &q.stream},
	} {
		if err := f.flag(flag.name, flag.value); err != nil {
			return q, err
		}
	}
	if q.wait && r.Method != http.MethodGet {
		return q, refuse(codeInvalidField, `"wait" can only be used with GET requests`)
	}
	q.prevValue = f.values[nPrevValue]
	if f.has(nPrevValue) && q.prevValue == "" {
		return q, refuse(codePrevValueRequired, `"prevValue" cannot be empty`)
	}
	if err := f.flag(nNoValueOnSuccess, &q.noValueOnSuccess); err != nil {
		return q, err
	}
	if ttl := f.values[nTTL]; ttl != "" {
		if q.ttl, err = strconv.ParseUint(ttl, 10, 64); err != nil {
			return q, refuse(codeTTLNaN, invalidValue(nTTL))
		}
		q.hasTTL = true
	}
	return q, q.parseConditions(&f)
}

// parseConditions reads prevExist, refresh and the value.
func (q *request) parseConditions(f *form) error {
	q.value = f.values[nValue]
	if f.has(nPrevExist) {
		exist, err := strconv.ParseBool(f.values[nPrevExist])
		if err != nil {
			return refuse(codeInvalidField, "invalid value for prevExist")
		}
		q.exist = existFalse
		if exist {
			q.exist = existTrue
		}
	}
	if f.has(nRefresh) {
		var err error
		if q.refresh, err = strconv.ParseBool(f.values[nRefresh]); err != nil {
			return refuse(codeInvalidField, "invalid value for refresh")
		}
		if q.refresh && q.value != "" {
			return refuse(codeRefreshValue, "A value was provided on a refresh")
		}
		if q.refresh && !q.hasTTL {
			return refuse(codeRefreshTTL, "No TTL value set")
		}
	}
	return nil
}

func (f *form) flag(n name, value *bool) error {
	if !f.has(n) {
		return nil
	}
	v, err := strconv.ParseBool(f.values[n])
	if err != nil {
		return refuse(codeInvalidField, invalidValue(n))
	}
	*value = v
	return nil
}

func invalidValue(n name) string { return `invalid value for "` + names[n] + `"` }

// command returns the command of a PUT, POST or DELETE.
func (q *request) command(method string, path []byte, wall time.Time) v2tree.Command {
	c := v2tree.Command{Path: path, Dir: q.dir}
	compares := q.prevIndex != 0 || q.prevValue != ""
	switch {
	case method == http.MethodDelete && compares:
		c.Kind, c.Dir = v2tree.KindCompareAndDelete, false
	case method == http.MethodDelete:
		c.Kind, c.Recursive = v2tree.KindDelete, q.recursive
		return c
	case method == http.MethodPost:
		c.Kind = v2tree.KindCreateInOrder
	case q.exist == existFalse:
		c.Kind = v2tree.KindCreate
	case compares:
		c.Kind = v2tree.KindCompareAndSwap
	case q.exist == existTrue:
		c.Kind = v2tree.KindUpdate
	default:
		c.Kind = v2tree.KindSet
	}
	if c.Kind == v2tree.KindCompareAndSwap || c.Kind == v2tree.KindCompareAndDelete {
		c.PrevIndex, c.PrevValue = q.prevIndex, []byte(q.prevValue)
	}
	if c.Kind == v2tree.KindCompareAndDelete {
		return c
	}
	c.Value = []byte(q.value)
	c.Refresh = q.refresh
	if q.hasTTL {
		c.TTL, c.HasTTL = lifetime(q.ttl, wall)
	}
	return c
}

// permanentBefore is the earliest expiration: etcd treats an earlier one as none.
var permanentBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// lifetime converts a TTL in seconds. As in etcd, whose times are nanoseconds of 64 bits, a TTL
// that is too long wraps: it may become negative, and it is none at all (ok is false) if the
// resulting expiration is before the year 2000. So 2⁶⁴-1 is a TTL of -1 s, and 300 years mean no
// TTL.
func lifetime(seconds uint64, wall time.Time) (ttl time.Duration, ok bool) {
	nanoseconds := int64(seconds * uint64(time.Second))
	now := wall.UnixNano()
	if nanoseconds > 0 && now > math.MaxInt64-nanoseconds {
		return 0, false // the expiration wraps to before 1970
	}
	return time.Duration(nanoseconds), now+nanoseconds >= permanentBefore.UnixNano()
}
