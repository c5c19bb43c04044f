package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Setting is one option with its effective value.
type Setting struct {
	Name   string
	Value  string // secrets are masked
	Source string // as an error would name it, or DefaultSource
}

// secrets are options whose values are not shown. Those of --auth-token are names of files.
var secrets = []string{"discovery-password", "discovery-user"}

// DefaultSource is the source of a value that was not given.
const DefaultSource = "default"

const masked = "********"

// urlPassword matches the part of a URL with a user and a password, such as those of
// --discovery-proxy; the last @ ends it, as in package url.
var urlPassword = regexp.MustCompile(`(://[^:/?#,]*:)[^/?#,]*@`)

// Effective returns every option with its effective value, sorted by name.
func (c *Config) Effective() (all []Setting) {
	derived := map[string]string{
		"data-dir": c.DataDir, "initial-cluster": c.InitialCluster, "auto-compaction-retention": c.retention,
		"discovery-fallback": c.Discovery.fallback(),
	}
	for _, o := range options {
		if o.section == "General" || o.name == "initial-cluster" && c.Discovery.Enabled() {
			continue
		}
		s := Setting{Name: o.name, Value: o.preset, Source: DefaultSource}
		if v, ok := derived[o.name]; ok {
			s.Value = v
		}
		if given, ok := c.chosen[o.name]; ok {
			s.Value, s.Source = strings.TrimSpace(given.value), given.source
		}
		if slices.Contains(secrets, o.name) && s.Value != "" {
			s.Value = masked
		}
		s.Value = urlPassword.ReplaceAllString(s.Value, "${1}"+masked+"@")
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Setting) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// MaskArguments returns a copy of a command line in which secrets are masked.
func MaskArguments(args []string) []string {
	out := make([]string, len(args))
	secretNext := false
	for i, arg := range args {
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		isSecret := strings.HasPrefix(arg, "-") && slices.Contains(secrets, name)
		switch {
		case secretNext:
			out[i] = masked
		case isSecret && hasValue:
			out[i] = arg[:strings.IndexByte(arg, '=')+1] + masked
		default:
			out[i] = urlPassword.ReplaceAllString(arg, "${1}"+masked+"@")
		}
		secretNext = !secretNext && isSecret && !hasValue
	}
	return out
}

// EffectiveText is the output of `etcd config check`: a configuration file that starts the same
// member, with the source of each value that is not a default.
func (c *Config) EffectiveText() string {
	var b strings.Builder
	for _, s := range c.Effective() {
		// Quoted values are always strings in YAML; all options accept strings.
		fmt.Fprintf(&b, "%s: %q", s.Name, s.Value)
		if s.Source != DefaultSource {
			fmt.Fprintf(&b, " # %s", s.Source)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// CheckCommand reports whether the arguments are those of `etcd config check`, and returns the
// flags after it.
func CheckCommand(args []string) (flags []string, ok bool) {
	if len(args) < 2 || args[0] != "config" || args[1] != "check" {
		return nil, false
	}
	return args[2:], true
}
