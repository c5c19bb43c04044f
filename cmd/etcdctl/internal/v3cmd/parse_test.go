package v3cmd

import (
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		``:                       nil,
		`get k`:                  {"get", "k"},
		"  get \t k ":            {"get", "k"},
		`put "a b" 'c d'`:        {"put", "a b", "c d"},
		`put k "line 1\nline 2"`: {"put", "k", "line 1\nline 2"},
		`put k 'raw \n'`:         {"put", "k", `raw \n`},
		`put k ""`:               {"put", "k", ""},
		`put k a"b c"d`:          {"put", "k", "ab cd"},
		`get --prefix=true "键"`:  {"get", "--prefix=true", "键"},
	} {
		if got, err := splitWords(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v, want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`put "a`, `put 'a`, `put "\q"`} {
		if got, err := splitWords(line); err == nil {
			t.Errorf("%s: got %q and no error", line, got)
		}
	}
}

func FuzzSplitWords(f *testing.F) {
	f.Add(`put "a b" 'c' d`)
	f.Fuzz(func(t *testing.T, line string) {
		words, err := splitWords(line)
		if err == nil && !strings.ContainsAny(line, `"'\`) && !slices.Equal(words, strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })) {
			t.Errorf("%q: got %q", line, words)
		}
	})
}

func TestParseCompare(t *testing.T) {
	for line, want := range map[string]clientv3.Cmp{
		`mod("k") > "5"`:        clientv3.Compare(clientv3.ModRevision("k"), ">", 5),
		`m("k")="5"`:            clientv3.Compare(clientv3.ModRevision("k"), "=", 5),
		`create("k") < "5"`:     clientv3.Compare(clientv3.CreateRevision("k"), "<", 5),
		`c("k") != "5"`:         clientv3.Compare(clientv3.CreateRevision("k"), "!=", 5),
		`version("a b") = "0"`:  clientv3.Compare(clientv3.Version("a b"), "=", 0),
		`ver("k") = "0"`:        clientv3.Compare(clientv3.Version("k"), "=", 0),
		`value("k") = "a\"b\n"`: clientv3.Compare(clientv3.Value("k"), "=", "a\"b\n"),
		`val("k") = "5"`:        clientv3.Compare(clientv3.Value("k"), "=", "5"),
		`lease("k") = "2e1f"`:   clientv3.Compare(clientv3.LeaseValue("k"), "=", 0x2e1f),
	} {
		got, err := parseCompare(line)
		if err != nil || !proto.Equal(got.GetCompare(), want.GetCompare()) {
			t.Errorf("%s: got %v, %v, want %v", line, got.GetCompare(), err, want.GetCompare())
		}
	}
	for line, want := range map[string]string{
		`mod(k) > 5`:       "malformed comparison: mod(k) > 5",
		`bogus("k") = "5"`: "unknown target bogus",
		`mod("k") ! "5"`:   "malformed comparison",
		`mod("k") > "x"`:   `invalid txn compare request: mod("k") > "x"`,
		`lease("k") = "x"`: "invalid txn compare request",
		`mod("k") > "5" x`: "malformed comparison",
	} {
		if _, err := parseCompare(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
}

func TestParseOp(t *testing.T) {
	put, err := parseOp(`put k "v w" --prev-kv --lease 1f`)
	if err != nil || !put.IsPut() || string(put.KeyBytes()) != "k" || string(put.ValueBytes()) != "v w" {
		t.Errorf("put: %+v, %v", put, err)
	}
	get, err := parseOp(`get "" --prefix --limit 3`)
	if err != nil || !get.IsGet() || string(get.KeyBytes()) != "\x00" || string(get.RangeBytes()) != "\x00" {
		t.Errorf("get: %+v, %v", get, err)
	}
	del, err := parseOp(`del a c`)
	if err != nil || !del.IsDelete() || string(del.KeyBytes()) != "a" || string(del.RangeBytes()) != "c" {
		t.Errorf("del: %+v, %v", del, err)
	}
	for line, want := range map[string]string{
		"put k": "put command needs 1 argument", "get": "no key", "rm k": `unknown request "rm"`,
		"get k --bogus": "unknown flag: --bogus", `put "k`: "double quote", "get a b c --prefix": "too many arguments",
	} {
		if _, err := parseOp(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
}

func TestHexIDs(t *testing.T) {
	for text, want := range map[string]string{
		`{"header":{"cluster_id":255,"member_id":16,"revision":9},"ID":10,"leader":-1}`: `{"header":{"cluster_id":"ff","member_id":"10","revision":9},"ID":"a","leader":"-1"}`,
		`{"name":"\"ID\":10","lease":26}`:                                               `{"name":"\"ID\":10","lease":"1a"}`,
	} {
		if got := string(hexIDs([]byte(text))); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
