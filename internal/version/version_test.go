package version

import (
	"regexp"
	"runtime/debug"
	"testing"
)

func TestText(t *testing.T) {
	want := regexp.MustCompile(`^etcd Version: 3\.7\.1
Git SHA: \S+
Go Version: go\S+
Go OS/Arch: \w+/\w+
Cairn Version: \d+\.\d+\.\d+
$`)
	if got := Text(); !want.MatchString(got) {
		t.Errorf("Text() = %q, want a match of %s", got, want)
	}
}

func TestGitSHA(t *testing.T) {
	for _, c := range []struct {
		revision, modified, want string
	}{
		{"", "", "unknown"},
		{"", "true", "unknown"},
		{"20490caaf0dcd96bb4a95e40625559def875f6f6", "false", "20490ca"},
		{"20490caaf0dcd96bb4a95e40625559def875f6f6", "true", "20490ca-dirty"},
		{"2049", "", "2049"},
	} {
		var settings []debug.BuildSetting
		if c.revision != "" {
			settings = append(settings, debug.BuildSetting{Key: "vcs.revision", Value: c.revision})
		}
		if c.modified != "" {
			settings = append(settings, debug.BuildSetting{Key: "vcs.modified", Value: c.modified})
		}
		if got := gitSHA(settings); got != c.want {
			t.Errorf("gitSHA(%v) = %q, want %q", settings, got, c.want)
		}
	}
}
