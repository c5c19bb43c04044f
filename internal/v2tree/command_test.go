package v2tree

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestCommandBytes checks the bytes drawn in docs/formats/v2.md.
func TestCommandBytes(t *testing.T) {
	for _, tc := range []struct {
		c     Command
		bytes string
	}{
		{
			Command{Kind: KindSet, Path: []byte("/a"), HasTTL: true, TTL: 5 * time.Second, Value: []byte("x")},
			"01 01 08 02 2f61 80c8afa025 78",
		},
		{Command{Kind: KindDelete, Path: []byte("/a"), Recursive: true}, "01 06 02 02 2f61"},
		{
			Command{
				Kind: KindCompareAndSwap, Path: []byte("/a"), PrevIndex: 7, PrevValue: []byte("p"), Refresh: true, HasTTL: true,
			},
			"01 05 3c 02 2f61 00 07 0170",
		},
		{Command{Kind: KindExpire, Path: []byte("/a"), Dir: true, Deadline: 3}, "01 08 41 02 2f61 06"},
		{Command{Kind: KindSet, Path: []byte("/a"), HasTTL: true, TTL: -1}, "01 01 08 02 2f61 01"},
	} {
		b := tc.c.Append(nil)
		if got := hex.EncodeToString(b); got != strings.ReplaceAll(tc.bytes, " ", "") {
			t.Errorf("%+v: %s, want %s", tc.c, got, tc.bytes)
		}
		back, err := Decode(b)
		if len(back.Value) == 0 {
			back.Value = nil
		}
		if err != nil || !reflect.DeepEqual(back, tc.c) {
			t.Errorf("%x is %+v, %v, want %+v", b, back, err, tc.c)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, b := range map[string]string{
		"nothing":             "",
		"short":               "\x01\x01",
		"version":             "\x02\x01\x00\x01/",
		"kind 0":              "\x01\x00\x00\x01/",
		"kind 9":              "\x01\x09\x00\x01/",
		"flag":                "\x01\x01\x80\x01/",
		"no path":             "\x01\x01\x00\x00",
		"path cut short":      "\x01\x01\x00\x03/a",
		"relative path":       "\x01\x01\x00\x01a",
		"slash at the end":    "\x01\x01\x00\x03/a/",
		"doubled slash":       "\x01\x01\x00\x04//ab",
		"dots":                "\x01\x01\x00\x05/../a",
		"TTL cut short":       "\x01\x01\x08\x01/\x80",
		"prevValue cut short": "\x01\x01\x20\x01/\x02a",
	} {
		if c, err := Decode([]byte(b)); !errors.Is(err, ErrBadCommand) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range []Command{
		{Kind: KindSet, Path: []byte("/a/b"), Value: []byte("v"), HasTTL: true, TTL: time.Minute},
		{Kind: KindCompareAndSwap, Path: []byte("/x"), PrevValue: []byte("p"), PrevIndex: 1 << 63, Dir: true},
		{Kind: KindExpire, Path: []byte("/x"), Dir: true, Deadline: 1 << 40},
	} {
		f.Add(c.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		back, err := Decode(c.Append(nil))
		if err != nil {
			t.Fatalf("%x decodes to %+v, which does not: %v", b, c, err)
		}
		if len(back.PrevValue) == 0 { // an empty value is not encoded
			back.PrevValue = c.PrevValue
		}
		if !reflect.DeepEqual(back, c) {
			t.Fatalf("%+v becomes %+v", c, back)
		}
	})
}

func TestValidPath(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/a": true, "/a/b": true, "/...": true, "/.a": true, "/a.": true, "/\x00": true, "/ ": true, "/_": true,
		"": false, "a": false, "//": false, "/a/": false, "/a//b": false, "/.": false, "/..": false, "/a/../b": false,
		"/a/./b": false, "/./a": false, "/a/..": false, "//a": false,
	} {
		if got := ValidPath([]byte(path)); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
}
