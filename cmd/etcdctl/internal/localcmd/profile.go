package localcmd

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cairn/cmd/etcdctl/internal/cli"
)

var profileCommands = []cli.Command{
	{Path: "profile", Short: "Manage named sets of global options.", Beyond: true},
	{
		Path: "profile set", Args: "<name>", Short: "store the global options of this command line under a name", Beyond: true,
		Long: "Stores endpoints, TLS files, user and time-outs in ~/.config/etcdctl/config.yaml (or $ETCDCTL_CONFIG). Passwords are not\n" +
			"stored. --profile NAME uses the profile; options on the command line take precedence over it.",
		Example: "$ etcdctl --endpoints https://10.0.0.1:2379 --cacert certs/ca.crt profile set prod\nprofile prod: cacert, endpoints",
		Run:     profileSet,
	},
	{
		Path: "profile use", Args: "<name>", Short: "use a profile by default", Beyond: true,
		Long:    "Environment variables and options take precedence over the default profile. `profile use -` uses none.",
		Example: "$ etcdctl profile use prod\nusing profile prod", Run: profileUse, Complete: (*cli.Session).ProfileNames,
	},
	{
		Path: "profile list", Short: "list the profiles", Beyond: true,
		Long: "The default profile is marked with a star.", Example: "$ etcdctl profile list\n* prod  https://10.0.0.1:2379", Run: profileList,
	},
	{
		Path: "profile show", Args: "<name>", Short: "print the options of a profile", Beyond: true,
		Example: "$ etcdctl profile show prod\ncacert: certs/ca.crt\nendpoints: https://10.0.0.1:2379", Run: profileShow, Complete: (*cli.Session).ProfileNames,
	},
	{
		Path: "profile delete", Args: "<name>", Short: "delete a profile", Beyond: true,
		Example: "$ etcdctl profile delete prod\ndeleted profile prod", Run: profileDelete, Complete: (*cli.Session).ProfileNames,
	},
}

// withProfiles runs do on the file of profiles with the name in the only argument.
func withProfiles(s *cli.Session, command string, do func(path, name string, all cli.Profiles) error) error {
	if len(s.Args) != 1 {
		return failf(exitArgs, "profile %s needs the name of a profile as its only argument", command)
	}
	path, err := s.ProfilesPath()
	if err != nil {
		return failf(1, "%w", err)
	}
	all, err := cli.ReadProfiles(path)
	if err != nil {
		return failf(1, "read profiles: %w", err)
	}
	return do(path, s.Args[0], all)
}

func write(path string, all cli.Profiles) error {
	if err := all.Write(path); err != nil {
		return failf(1, "write profiles: %w", err)
	}
	return nil
}

func unknownProfile(path, name string) error {
	return failf(1, "there is no profile %q in %s: see `etcdctl profile list`", name, path)
}

func profileSet(s *cli.Session) error {
	return withProfiles(s, "set", func(path, name string, all cli.Profiles) error {
		p := cli.Profile{}
		for _, option := range cli.ProfileOptions() {
			f := s.Flags.Lookup(option)
			if f == nil || !f.Changed {
				continue
			}
			text := strings.Trim(f.Value.String(), "[]") // of a list
			if option == "user" && strings.Contains(text, ":") {
				return failf(exitArgs, "--user %s: passwords are not stored: give the user's name only", strings.SplitN(text, ":", 2)[0]+":…")
			}
			p[option] = text
		}
		if len(p) == 0 {
			return failf(exitArgs, "profile set: no option to store: give some of --%s", strings.Join(cli.ProfileOptions(), ", --"))
		}
		all.Profiles[name] = p
		if err := write(path, all); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "profile %s: %s\n", name, strings.Join(slices.Sorted(maps.Keys(p)), ", "))
		return nil
	})
}

func profileUse(s *cli.Session) error {
	return withProfiles(s, "use", func(path, name string, all cli.Profiles) error {
		if name == "-" {
			all.Current = ""
			fmt.Fprintln(s.Out, "using no profile")
			return write(path, all)
		}
		if _, ok := all.Profiles[name]; !ok {
			return unknownProfile(path, name)
		}
		all.Current = name
		if err := write(path, all); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "using profile %s\n", name)
		return nil
	})
}

func profileList(s *cli.Session) error {
	if len(s.Args) != 0 {
		return failf(exitArgs, "profile list takes no arguments")
	}
	s.Args = []string{""}
	return withProfiles(s, "list", func(_, _ string, all cli.Profiles) error {
		for _, name := range slices.Sorted(maps.Keys(all.Profiles)) {
			mark := " "
			if name == all.Current {
				mark = "*"
			}
			fmt.Fprintf(s.Out, "%s %s  %s\n", mark, name, all.Profiles[name]["endpoints"])
		}
		return nil
	})
}

func profileShow(s *cli.Session) error {
	return withProfiles(s, "show", func(path, name string, all cli.Profiles) error {
		p, ok := all.Profiles[name]
		if !ok {
			return unknownProfile(path, name)
		}
		for _, option := range slices.Sorted(maps.Keys(p)) {
			fmt.Fprintf(s.Out, "%s: %s\n", option, p[option])
		}
		return nil
	})
}

func profileDelete(s *cli.Session) error {
	return withProfiles(s, "delete", func(path, name string, all cli.Profiles) error {
		if _, ok := all.Profiles[name]; !ok {
			return unknownProfile(path, name)
		}
		delete(all.Profiles, name)
		if all.Current == name {
			all.Current = ""
		}
		if err := write(path, all); err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "deleted profile %s\n", name)
		return nil
	})
}
