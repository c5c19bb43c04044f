package config

import (
	"fmt"
	"strings"
)

// parseFlags parses the command line like Go's flag package, as etcd does: one dash or two, the
// value after "=" or as the next argument, a boolean alone or with "=", no flag after the first
// other argument. It does not check values. It returns the other arguments as rest.
//
// It does not use the flag package because the error texts of that package cannot be changed.
func parseFlags(args []string) (flags map[string]setting, rest []string, err error) {
	flags = map[string]setting{}
	for len(args) > 0 {
		arg := args[0]
		if len(arg) < 2 || arg[0] != '-' {
			return flags, args, nil
		}
		args = args[1:]
		if arg == "--" {
			return flags, args, nil
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if name == "h" {
			name = "help"
		}
		boolean, known := isBoolean(name)
		switch {
		case !known:
			return nil, nil, usageErrorf("unknown flag --%s; see etcd --help", name)
		case hasValue:
		case boolean:
			value = "true"
		case len(args) == 0:
			return nil, nil, usageErrorf("--%s: has no value; see etcd --help", name)
		default:
			value, args = args[0], args[1:]
		}
		flags[name] = setting{value: value, source: "--" + name, flag: true}
	}
	return flags, nil, nil
}

// extraArgument returns the error for an argument that is not a flag. It is not a UsageError: etcd
// exits with status 1 after it.

func extraArgument(arg string) error {
	if arg == "true" || arg == "false" {
		return fmt.Errorf("unexpected argument %q: the value of a boolean flag goes after \"=\", as in --enable-v2=%s; see etcd --help", arg, arg)
	}
	return fmt.Errorf("unexpected argument %q: etcd takes flags only; see etcd --help", arg)
}
