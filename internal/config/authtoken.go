package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// AuthToken is the kind of token that a login returns. The zero value is simple tokens.
type AuthToken struct {
	JWT bool

	// Of JWT. The files are not read here.
	SignMethod string
	PubKey     string // a file, or ""
	PrivKey    string // a file, or ""
	TTL        time.Duration
}

const defaultJWTTTL = 5 * time.Minute

const authTokenForm = "want simple, or jwt,priv-key=FILE,sign-method=RS256 with pub-key=FILE and ttl=10m as needed"

// setAuthToken parses etcd's form: a provider, and its options separated by commas.
func setAuthToken(to *AuthToken, v string) error {
	provider, rest, more := strings.Cut(v, ",")
	switch {
	case provider == "simple" && !more, v == "":
		*to = AuthToken{}
		return nil
	case provider == "simple":
		return fmt.Errorf("%q: simple tokens have no options: %s", v, authTokenForm)
	case provider != "jwt":
		return fmt.Errorf("%q is not known: %s", provider, authTokenForm)
	}
	t := AuthToken{JWT: true, TTL: defaultJWTTTL}
	var options []string
	if more {
		options = strings.Split(rest, ",")
	}
	for _, option := range options {
		name, value, given := strings.Cut(strings.TrimSpace(option), "=")
		if !given || value == "" {
			return fmt.Errorf("%q has no value: %s", option, authTokenForm)
		}
		switch name {
		case "sign-method":
			t.SignMethod = value
		case "pub-key":
			t.PubKey = value
		case "priv-key":
			t.PrivKey = value
		case "ttl":
			ttl, err := time.ParseDuration(value)
			if err != nil || ttl <= 0 {
				return fmt.Errorf("ttl=%s: is not a length of time: want for example 10m", value)
			}
			t.TTL = ttl
		default:
			return fmt.Errorf("%q is not an option of jwt: %s", name, authTokenForm)
		}
	}
	if t.SignMethod == "" {
		return errors.New("jwt needs sign-method: " + authTokenForm)
	}
	*to = t
	return nil
}

// setSeconds parses a whole number of seconds; 0 means the default, as in etcd.
func setSeconds(to *time.Duration, v string, preset int) error {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return fmt.Errorf("%q is not a number of seconds: want a whole number without a unit, for example %d", v, preset)
	}
	if n == 0 {
		n = uint64(preset)
	}
	*to = time.Duration(n) * time.Second
	return nil
}

func setBcryptCost(to *int, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 4 || n > 31 {
		return fmt.Errorf("%q is not a cost of bcrypt: want a number from 4 to 31, for example 10", v)
	}
	*to = n
	return nil
}
