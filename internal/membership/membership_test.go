package membership

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"cairn/internal/storage"
)

// state is table m over a store that can be reopened.
type state struct {
	t  *testing.T
	fs storage.CrashableFS
	db *storage.Store
	b  *storage.Batch
	*Table
}

func newState(t *testing.T, founders ...Member) *state {
	s := &state{t: t, fs: storage.NewCrashableFS()}
	s.open(func(b *storage.Batch) { Initialize(b, founders) })
	t.Cleanup(s.close)
	return s
}

func (s *state) open(first func(*storage.Batch)) {
	var err error
	if s.db, err = storage.OpenState("state", storage.Options{FS: s.fs, MemTableBytes: 4 << 20, CacheBytes: 4 << 20}); err != nil {
		s.t.Fatal(err)
	}
	s.b = s.db.NewBatch()
	first(s.b)
	if err := s.b.Commit(false); err != nil {
		s.t.Fatal(err)
	}
	if s.Table, err = Open(s.db); err != nil {
		s.t.Fatal(err)
	}
}

func (s *state) close() {
	if err := errors.Join(s.b.Close(), s.db.Flush(), s.db.Close()); err != nil {
		s.t.Error(err)
	}
}

// batch applies commands as a machine does, each over its bytes.
func (s *state) batch(commands ...Command) (errs []error) {
	s.b.Reset()
	s.Begin()
	for _, c := range commands {
		decoded, err := Decode(c.Append(nil))
		if err != nil {
			s.t.Fatal(err)
		}
		errs = append(errs, s.Apply(s.b, &decoded))
	}
	if err := s.b.Commit(false); err != nil {
		s.t.Fatal(err)
	}
	s.Publish()
	return errs
}

// show lists the members, one a line.
func show(members []Member) string {
	var b strings.Builder
	for _, m := range members {
		fmt.Fprintf(&b, "%x %q %v %v learner=%v\n", m.ID, m.Name, m.PeerURLs, m.ClientURLs, m.Learner)
	}
	return b.String()
}

func (s *state) want(want string) {
	s.t.Helper()
	if got := show(s.List()); got != want {
		s.t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTable(t *testing.T) {
	s := newState(t,
		Member{ID: 0xb, PeerURLs: []string{"http://b:1"}},
		Member{ID: 0xa, PeerURLs: []string{"http://a:1", "http://a:2"}, Learner: true},
	)
	s.want(`a "" [http://a:1 http://a:2] [] learner=true
b "" [http://b:1] [] learner=false
`)
	before := s.List()
	errs := s.batch(
		Command{Kind: KindPublish, ID: 0xa, Name: "n1", ClientURLs: []string{"http://a:9"}},
		Command{Kind: KindPublish, ID: 0xc, Name: "n3"},
		Command{Kind: KindUpdate, ID: 0xb, PeerURLs: []string{"http://a:2", "http://b:1"}},
		// A value that an earlier command of the batch frees can be used again.
		Command{Kind: KindUpdate, ID: 0xa, PeerURLs: []string{"http://a:1"}},
		Command{Kind: KindUpdate, ID: 0xb, PeerURLs: []string{"http://a:2", "http://b:1"}},
		Command{Kind: KindUpdate, ID: 0xc, PeerURLs: []string{"http://a:1"}},
	)
	want := []error{nil, ErrNotFound, ErrPeerURLExists, nil, nil, ErrNotFound}
	if !reflect.DeepEqual(errs, want) {
		t.Errorf("got %v, want %v", errs, want)
	}
	const after = `a "n1" [http://a:1] [http://a:9] learner=true
b "" [http://a:2 http://b:1] [] learner=false
`
	s.want(after)
	if got := show(before); strings.Contains(got, "n1") {
		t.Errorf("a list that was handed out has changed:\n%s", got)
	}
	s.close()
	s.open(func(*storage.Batch) {})
	s.want(after)
	if m, ok := Find(s.List(), 0xa); !ok || !m.Started() {
		t.Errorf("Find(a) = %+v, %v", m, ok)
	}
	if m, ok := Find(s.List(), 0xc); ok || m.Started() {
		t.Errorf("Find(c) = %+v, %v", m, ok)
	}
}

// TestNotCommitted shows that a batch is invisible before it is published.
func TestNotCommitted(t *testing.T) {
	s := newState(t, Member{ID: 1, PeerURLs: []string{"http://a:1"}})
	s.Begin()
	if err := s.Apply(s.b, &Command{Kind: KindPublish, ID: 1, Name: "n"}); err != nil {
		t.Fatal(err)
	}
	s.want("1 \"\" [http://a:1] [] learner=false\n")
}

// TestBytes checks the encodings against docs/formats/members.md.
func TestBytes(t *testing.T) {
	m := Member{ID: 0x8e9e05c52164694d, Name: "default", PeerURLs: []string{"http://p:1"}, ClientURLs: []string{"http://c:1", "x"}, Learner: true, Version: "3.7.0"}
	for _, c := range []struct {
		what, got, want string
	}{
		{"key", string(key(m.ID)), "m\x8e\x9e\x05\xc5\x21\x64\x69\x4d"},
		{"record", string(m.append(nil)), "\x01\x07default\x01\x0ahttp://p:1\x02\x0ahttp://c:1\x01x\x053.7.0"},
		{
			"publish", string((&Command{Kind: KindPublish, ID: m.ID, Name: "n", ClientURLs: m.ClientURLs, Version: "3.7.0"}).Append(nil)),
			"\x01\x8e\x9e\x05\xc5\x21\x64\x69\x4d\x01n\x02\x0ahttp://c:1\x01x\x053.7.0",
		},
		{
			"add", string((&Command{Kind: KindAdd, ID: 1, PeerURLs: m.PeerURLs, Learner: true, LearnersMax: 2}).Append(nil)),
			"\x83\x00\x00\x00\x00\x00\x00\x00\x01\x01\x02\x01\x0ahttp://p:1",
		},
		{"remove, as 0.1.0 wrote it", string((&Command{Kind: KindRemove, ID: 1, MovesRevision: true}).Append(nil)), "\x04\x00\x00\x00\x00\x00\x00\x00\x01"},
		{"remove", string((&Command{Kind: KindRemove, ID: 1}).Append(nil)), "\x84\x00\x00\x00\x00\x00\x00\x00\x01"},
		{"promote", string((&Command{Kind: KindPromote, ID: 1}).Append(nil)), "\x85\x00\x00\x00\x00\x00\x00\x00\x01"},
		{"removed", string(appendRemoved(nil)), "\x02"},
		{"update", string((&Command{Kind: KindUpdate, ID: 1, PeerURLs: m.PeerURLs}).Append(nil)), "\x82\x00\x00\x00\x00\x00\x00\x00\x01\x01\x0ahttp://p:1"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
	if back, err := decodeMember(key(m.ID), m.append(nil)); err != nil || !reflect.DeepEqual(back, record{Member: m}) {
		t.Errorf("got %+v, %v", back, err)
	}
	record := m.append(nil)
	for i := range record {
		if got, err := decodeMember(key(m.ID), record[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("of %d bytes: got %+v, %v", i, got, err)
		}
	}
	for _, bad := range [][2]string{
		{"m\x00", string(record)},
		{string(key(1)), string(record) + "x"},
		{string(key(1)), "\x02\x00\x00\x00"},
	} {
		if got, err := decodeMember([]byte(bad[0]), []byte(bad[1])); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: got %+v, %v", bad, got, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add((&Command{Kind: KindPublish, ID: 1, Name: "n", ClientURLs: []string{"http://c:1"}}).Append(nil))
	f.Add((&Command{Kind: KindUpdate, ID: 1, PeerURLs: []string{"a", ""}}).Append(nil))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte("\x06\x00\x00\x00\x00\x00\x00\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%x: %v", b, err)
			}
			return
		}
		again, err := Decode(c.Append(nil))
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%x: %+v, then %+v, %v", b, c, again, err)
		}
		_, _ = decodeMember(key(1), b) // must not panic
	})
}

func TestParseURLs(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want string
	}{
		{nil, "no valid URLs given"},
		{[]string{}, "no valid URLs given"},
		{[]string{"http://b:1", " https://a:2 "}, "[http://b:1 https://a:2]"},
		// as in etcd
		{[]string{"http://b:1", "http://a:1", "http://b:1"}, "[http://a:1 http://b:1 http://b:1]"},
		{[]string{"unix://a:1"}, "[unix://a:1]"},
		{[]string{"http://[::1]:1"}, "[http://[::1]:1]"},
		{[]string{"http://a:1", "bad"}, "URL scheme must be http, https, unix, or unixs: bad"},
		{[]string{""}, "URL scheme must be http, https, unix, or unixs: "},
		{[]string{"http://127.0.0.1"}, `URL address does not have the form "host:port": http://127.0.0.1`},
		{[]string{"http://a:1/"}, "URL must not contain a path: http://a:1/"},
		{[]string{"127.0.0.1:1"}, `parse "127.0.0.1:1": first path segment in URL cannot contain colon`},
	} {
		urls, err := ParseURLs(c.in)
		got := fmt.Sprint(urls)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q: got %s, want %s", c.in, got, c.want)
		}
	}
}

func TestClusterVersion(t *testing.T) {
	s := newState(t,
		Member{ID: 1, PeerURLs: []string{"http://a:1"}}, Member{ID: 2, PeerURLs: []string{"http://b:1"}}, Member{ID: 3, PeerURLs: []string{"http://c:1"}})
	publish := func(id uint64, version string) error {
		return s.batch(Command{Kind: KindPublish, ID: id, Name: "n", Version: version})[0]
	}
	for i, step := range []struct {
		id      uint64
		version string
		err     error
		want    string
	}{
		{1, "3.7.2", nil, "3.7.0"},
		{2, "3.8.1", nil, "3.7.0"},
		{3, "3.6.9", ErrTooOld, "3.7.0"},
		{3, "3.10.0", nil, "3.7.0"},
		{1, "3.10.4", nil, "3.8.0"},
		{1, "3.7.0", ErrTooOld, "3.8.0"},
		{2, "4.0.0", nil, "3.10.0"},
		{2, "garbage", ErrTooOld, "3.10.0"},
	} {
		if err := publish(step.id, step.version); !errors.Is(err, step.err) {
			t.Errorf("step %d: %v, want %v", i, err, step.err)
		}
		if got := ClusterVersion(s.List()); got != step.want {
			t.Errorf("step %d: cluster version %s, want %s", i, got, step.want)
		}
	}
	if got := ClusterVersion(nil); got != "" {
		t.Errorf("no two members agree on %s", got)
	}
}

// TestKnowStillChanges: while one member has an older version, the others write commands that it
// supports. A member that has not started yet has no version.
func TestKnowStillChanges(t *testing.T) {
	for _, c := range []struct {
		versions []string
		want     bool
	}{
		{nil, true},
		{[]string{""}, true},
		{[]string{"3.7.0"}, false},
		{[]string{"3.7.1", "", "3.7.10"}, true},
		{[]string{"3.7.1", "3.7.0"}, false},
		{[]string{"3.8.0", "4.0.0"}, true},
		{[]string{"3.6.9"}, false},
		{[]string{"nonsense"}, false},
	} {
		var members []Member
		for _, v := range c.versions {
			members = append(members, Member{Version: v})
		}
		if got := KnowStillChanges(members); got != c.want {
			t.Errorf("versions %q: %v, want %v", c.versions, got, c.want)
		}
	}
}
