package cli

import (
	"fmt"
	"strings"
)

// Variable returns the environment variable of an option: ETCDCTL_CA_FILE for ca-file.
func Variable(option string) string {
	return "ETCDCTL_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// FromEnvironment sets an option that is not on the command line from its environment variable, if
// that is set. The error names the variable.
func (s *Session) FromEnvironment(option string) error {
	variable := Variable(option)
	text := s.Getenv(variable)
	if text == "" || s.Flags.Changed(option) {
		return nil
	}
	if err := s.Flags.Set(option, text); err != nil {
		return fmt.Errorf("%s=%s: %w", variable, text, err)
	}
	return nil
}
