package config

import (
	"fmt"
	"strings"
)

// parseFlags reads the command line the way Go's flag package does, which is etcd's: one dash or
// two, the value after "=" or as the next argument, a boolean alone or with "=", no flag after the
// first argument that is none. It does not look at values. What is not a flag is returned as rest.
//
// It is not the flag package itself because that one's errors are finished sentences in words that
// are not ours.
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

// extraArgument explains an argument that is not a flag. It is not an error of usage: etcd ends
// with status 1 after it.
func extraArgument(arg string) error {
	if arg == "true" || arg == "false" {
		return fmt.Errorf("unexpected argument %q: the value of a boolean flag goes after \"=\", as in --enable-v2=%s; see etcd --help", arg, arg)
	}
	return fmt.Errorf("unexpected argument %q: etcd takes flags only; see etcd --help", arg)
}
