package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// apiVariable is the environment variable that chooses the dialect where both have the command.
const apiVariable = "ETCDCTL_API"

// annotation is the key of a flag's annotation with the only dialect that has it.
const annotation = "dialect"

// owner returns the only dialect that has a flag, or 0 if both have it.
func owner(f *pflag.Flag) Dialect {
	switch {
	case len(f.Annotations[annotation]) == 0:
		return 0
	case f.Annotations[annotation][0] == "2":
		return V2
	}
	return V3
}

// parseAPI parses the value of ETCDCTL_API; an empty value is 0.
func parseAPI(text string) (Dialect, error) {
	switch text {
	case "":
		return 0, nil
	case "2":
		return V2, nil
	case "3":
		return V3, nil
	}
	return 0, usage("%s=%s is not an API version: set it to 2 or 3, or unset it to let the command decide", apiVariable, text)
}

// choose returns the dialect of a command line: api (the value of ETCDCTL_API) unless it is 0; else
// the only dialect that has the command; else the only dialect that has one of the flags given;
// else v2.
func choose(api Dialect, n *node, flags *pflag.FlagSet) (Dialect, error) {
	var only [V3 + 1]string // by dialect, the first given flag that only this dialect has
	flags.Visit(func(f *pflag.Flag) {
		if d := owner(f); only[d] == "" {
			only[d] = "--" + f.Name
		}
	})
	d := api
	switch {
	case api != 0:
	case n.forms[V2] == nil:
		d = V3
	case n.forms[V3] == nil:
		d = V2
	case only[V2] != "" && only[V3] != "":
		return 0, usage("%s is an option of the v2 API and %s one of the v3 API: leave one out, or set %s to get help on one API (`%s=3 etcdctl help %s`)",
			only[V2], only[V3], apiVariable, apiVariable, n.path)
	case only[V3] != "":
		d = V3
	default:
		d = V2
	}
	other := V2 + V3 - d
	if n.forms[d] == nil {
		return 0, absent(n.path, d, other)
	}
	if only[other] != "" && n.forms[other] == nil {
		return 0, usage("unknown flag: %s: it is an option of the v%d API, which has no `etcdctl %s`: `etcdctl help %s` lists the options of this command",
			only[other], other, n.path, n.path)
	}
	if only[other] != "" {
		return 0, usage("unknown flag: %s: `etcdctl %s` has it in the v%d API only, and %s asks for v%d%s",
			only[other], n.path, other, because(api), d, wayOut(api, other))
	}
	return d, nil
}

// absent returns the error for a command that the dialect set by ETCDCTL_API does not have. v2 has
// a special exit code for it.
func absent(path string, d, other Dialect) error {
	text := fmt.Sprintf("`etcdctl %s` is a command of the v%d API, and %s=%d asks for v%d: unset %s, or set it to %d\n",
		path, other, apiVariable, d, d, apiVariable, other)
	if d == V2 {
		return &Exit{Code: exitUnknown, Message: text}
	}
	return &Exit{Code: exitUsage, Message: "Error: " + text}
}

func because(api Dialect) string {
	if api == 0 {
		return "this command"
	}
	return fmt.Sprintf("%s=%d", apiVariable, api)
}

func wayOut(api, other Dialect) string {
	if api == 0 {
		return ""
	}
	return fmt.Sprintf(": unset %s, or set it to %d", apiVariable, other)
}

// lenient rewrites options that v2's option parser accepts and pflag does not: a long option with
// one dash (`-ttl 60`), and -D for --discovery-srv. It does not change the values of options, nor
// anything after "--".
func lenient(args []string, v2 map[string]*pflag.Flag, all []*pflag.FlagSet) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...)
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-") || arg == "-":
		case arg == "-D" || strings.HasPrefix(arg, "-D="):
			arg = "--discovery-srv" + strings.TrimPrefix(arg, "-D")
			name = "discovery-srv"
		case !strings.HasPrefix(arg, "--") && len(name) > 1 && v2[name] != nil:
			arg = "-" + arg
		}
		out = append(out, arg)
		if strings.HasPrefix(arg, "-") && !hasValue && takesValue(name, all) && i+1 < len(args) {
			i++
			out = append(out, args[i])
		}
	}
	return out
}

// takesValue reports whether an option is followed by its value. Options of the same name in
// different commands agree in this.
func takesValue(name string, all []*pflag.FlagSet) bool {
	for _, flags := range all {
		f := flags.Lookup(name)
		if f == nil && len(name) == 1 {
			f = flags.ShorthandLookup(name)
		}
		if f != nil {
			return f.NoOptDefVal == ""
		}
	}
	return false
}
