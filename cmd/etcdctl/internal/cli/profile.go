package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// Profiles is the content of the file of profiles: named sets of global options.
type Profiles struct {
	// Current is the profile that applies without --profile; empty for none.
	Current  string             `json:"current,omitempty"`
	Profiles map[string]Profile `json:"profiles"`
}

// Profile holds values of global options by the names of the v3 options.
type Profile map[string]string

// profileOptions are the options that a profile may set, with their names in v2; an option without
// a name in v2 does not apply there.
var profileOptions = map[string]string{
	"endpoints": "endpoints", "cacert": "ca-file", "cert": "cert-file", "key": "key-file", "user": "username",
	"insecure-skip-tls-verify": "", "insecure-transport": "", "discovery-srv": "discovery-srv", "discovery-srv-name": "",
	"write-out": "", "dial-timeout": "timeout", "command-timeout": "total-timeout",
}

// ProfileOptions returns the names of the options that a profile may set, sorted.
func ProfileOptions() []string { return slices.Sorted(maps.Keys(profileOptions)) }

// ProfilesPath returns the path of the file of profiles: ETCDCTL_CONFIG, or etcdctl/config.yaml in
// the user's configuration directory.
func (s *Session) ProfilesPath() (string, error) { return profilesPath(s.Getenv) }

func profilesPath(getenv func(string) string) (string, error) {
	if path := getenv("ETCDCTL_CONFIG"); path != "" {
		return path, nil
	}
	dir := getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := getenv("HOME")
		if home == "" {
			return "", errors.New("neither ETCDCTL_CONFIG, XDG_CONFIG_HOME nor HOME is set: set one to keep profiles")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "etcdctl", "config.yaml"), nil
}

// ProfileNames returns the names of the profiles, sorted, to complete one. It returns none if the
// file cannot be read.
func (s *Session) ProfileNames() []string { return profileNames(s.Getenv) }

func profileNames(getenv func(string) string) []string {
	path, err := profilesPath(getenv)
	if err != nil {
		return nil
	}
	all, err := ReadProfiles(path)
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(all.Profiles))
}

// ReadProfiles reads the file of profiles; a missing file has none.
func ReadProfiles(path string) (p Profiles, err error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	if err := yaml.UnmarshalStrict(text, &p); err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	if p.Profiles == nil {
		p.Profiles = map[string]Profile{}
	}
	return p, nil
}

// Modes of the file of profiles and its directory.
const (
	profilesDirMode = 0o700
	profilesMode    = 0o600
)

// Write writes the file of profiles.
func (p Profiles) Write(path string) error {
	text, err := yaml.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), profilesDirMode); err != nil {
		return err
	}
	part := path + ".part"
	if err := os.WriteFile(part, text, profilesMode); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// applyProfile sets the options of the profile that are not given on the command line. The profile
// named by --profile takes precedence over environment variables, and these take precedence over
// the current profile.
func (a *App) applyProfile(flags *pflag.FlagSet, d Dialect) error {
	named, err := flags.GetString("profile")
	if err != nil {
		return err
	}
	named = cmp.Or(named, a.Getenv("ETCDCTL_PROFILE"))
	path, err := profilesPath(a.Getenv)
	if err != nil {
		if named == "" {
			return nil
		}
		return usage("--profile %s: %v", named, err)
	}
	all, err := ReadProfiles(path)
	if err != nil {
		return usage("read profiles: %v", err)
	}
	name := cmp.Or(named, all.Current)
	if name == "" {
		return nil
	}
	profile, ok := all.Profiles[name]
	if !ok {
		return usage("there is no profile %q in %s: see `etcdctl profile list`", name, path)
	}
	for option, text := range profile {
		if d == V2 {
			option = profileOptions[option]
		}
		if option == "" || flags.Lookup(option) == nil || flags.Changed(option) {
			continue
		}
		if named == "" && a.Getenv(Variable(option)) != "" {
			continue
		}
		if err := flags.Set(option, text); err != nil {
			return usage("profile %s: %s: %v", name, option, err)
		}
	}
	return nil
}
