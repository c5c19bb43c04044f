package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// URL is an address as etcd writes them: a scheme, a host and a port, and nothing after it.
type URL struct {
	Scheme   string // http or https
	HostPort string // as net.Listen and net.Dial take it
}

// String is the address in full, http://127.0.0.1:2379.
func (u URL) String() string { return u.Scheme + "://" + u.HostPort }

// host is the address without the port, and without the brackets of IPv6.
func (u URL) host() string {
	host, _, _ := net.SplitHostPort(u.HostPort) // ParseURL has split it before
	return host
}

// URLs are addresses in ascending order, each once, as etcd keeps and lists them.
type URLs []URL

// Strings are the addresses as texts.
func (us URLs) Strings() []string {
	texts := make([]string, len(us))
	for i, u := range us {
		texts[i] = u.String()
	}
	return texts
}

// String is the list as flags take it.
func (us URLs) String() string { return strings.Join(us.Strings(), ",") }

// ParseURL reads one address. Blanks around it are ignored.
func ParseURL(text string) (URL, error) {
	text = strings.TrimSpace(text)
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme == "" || parsed.Opaque != "" {
		return URL{}, fmt.Errorf("%q is not a URL: want http://HOST:PORT", text)
	}
	switch parsed.Scheme {
	case "http", "https":
	case "unix", "unixs":
		return URL{}, fmt.Errorf("%q is a Unix socket, not supported by this version of cairn: want http://HOST:PORT", text)
	default:
		return URL{}, fmt.Errorf("%q has the scheme %q: want http://HOST:PORT", text, parsed.Scheme)
	}
	if parsed.Path != "" || parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "" || parsed.User != nil {
		return URL{}, fmt.Errorf("%q has more than a host and a port: want %s://%s", text, parsed.Scheme, parsed.Host)
	}
	_, port, err := net.SplitHostPort(parsed.Host)
	if err != nil || port == "" {
		return URL{}, fmt.Errorf("%q has no port: want http://HOST:PORT", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return URL{}, fmt.Errorf("%q has the port %s: want one up to 65535", text, port)
	}
	return URL{parsed.Scheme, parsed.Host}, nil
}

// ParseURLs reads addresses with commas between them.
func ParseURLs(text string) (URLs, error) {
	var urls URLs
	for _, one := range strings.Split(text, ",") {
		u, err := ParseURL(one)
		if err != nil {
			return nil, err
		}
		urls = append(urls, u)
	}
	return urls.sorted(), nil
}

func (us URLs) sorted() URLs {
	slices.SortFunc(us, func(a, b URL) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(us)
}

func mustURLs(text string) URLs {
	urls, err := ParseURLs(text)
	if err != nil {
		panic(err)
	}
	return urls
}

// setURLs leaves the list empty for an empty text, which is a value only where nothing needs to be
// listened on.
func setURLs(to *URLs, v string) error {
	if v == "" {
		*to = nil
		return nil
	}
	urls, err := ParseURLs(v)
	if err != nil {
		return err
	}
	*to = urls
	return nil
}

// checkListen reports whether a member can listen on the addresses: a host's name may stand for
// several addresses, of which it would be anyone's guess which one is meant, so apart from
// localhost only IPs are taken, as in etcd.
func checkListen(flag string, urls URLs) error {
	for _, u := range urls {
		if u.Scheme == "https" {
			return fmt.Errorf("%s: %q needs TLS, not supported by this version of cairn: want http://%s", flag, u, u.HostPort)
		}
		if host := u.host(); host != "localhost" {
			if _, err := netip.ParseAddr(host); err != nil {
				return fmt.Errorf("%s: %q has the host %q: want an IP address of this machine to listen on, 0.0.0.0 for all, or localhost", flag, u, host)
			}
		}
	}
	return nil
}

// checkAdvertise reports whether others can be sent to the addresses.
func (c *Config) checkAdvertise(flag string, urls URLs) error {
	for _, u := range urls {
		host := u.host()
		if host == "" {
			return fmt.Errorf("%s: %q has no host: want an address that others can reach", flag, u)
		}
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
			c.warn("address cannot be reached by others", flag, u.String()+" stands for every address of whoever uses it")
		}
	}
	return nil
}
