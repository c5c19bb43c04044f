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

// URL is an address in etcd's form: a scheme, and a host with a port or the path of a socket.
type URL struct {
	Scheme   string // http, https, unix or unixs
	HostPort string // in the form of net.Listen and net.Dial; for unix and unixs a path
}

// String returns the full address, http://127.0.0.1:2379.
func (u URL) String() string { return u.Scheme + "://" + u.HostPort }

// Secure reports whether the address uses TLS.
func (u URL) Secure() bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// Unix reports whether the address is a Unix socket.
func (u URL) Unix() bool { return u.Scheme == "unix" || u.Scheme == "unixs" }

// Network returns the network for net.Listen and net.Dial.
func (u URL) Network() string {
	if u.Unix() {
		return "unix"
	}
	return "tcp"
}

// host returns the address without the port, and without the brackets of IPv6; empty for a socket.
func (u URL) host() string {
	if u.Unix() {
		return ""
	}
	host, _, _ := net.SplitHostPort(u.HostPort) // ParseURL has checked it
	return host
}

// URLs are sorted addresses without duplicates, as etcd lists them.
type URLs []URL

// Strings returns the addresses as strings.
func (us URLs) Strings() []string {
	texts := make([]string, len(us))
	for i, u := range us {
		texts[i] = u.String()
	}
	return texts
}

// String returns the list in the form of a flag's value.
func (us URLs) String() string { return strings.Join(us.Strings(), ",") }

// AnySecure reports whether one of the addresses uses TLS.
func (us URLs) AnySecure() bool { return slices.ContainsFunc(us, URL.Secure) }

// SecureHosts returns the hosts of the addresses that use TLS, without those of sockets.
func (us URLs) SecureHosts() (hosts []string) {
	for _, u := range us {
		if host := u.host(); u.Secure() && host != "" && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// AllSecure reports whether all of the addresses use TLS.
func (us URLs) AllSecure() bool {
	return !slices.ContainsFunc(us, func(u URL) bool { return !u.Secure() })
}

const urlForm = "want http://HOST:PORT, https://HOST:PORT, unix://PATH or unixs://PATH"

// ParseURL parses one address. Blanks around it are ignored.
func ParseURL(text string) (URL, error) {
	text = strings.TrimSpace(text)
	scheme, rest, ok := strings.Cut(text, "://")
	if ok && (scheme == "unix" || scheme == "unixs") {
		if rest == "" || strings.ContainsAny(rest, "?#,= \x00") {
			return URL{}, fmt.Errorf("%q has no usable path: want %s://PATH", text, scheme)
		}
		return URL{scheme, rest}, nil
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme == "" || parsed.Opaque != "" {
		return URL{}, fmt.Errorf("%q is not a URL: %s", text, urlForm)
	}
	if parsed.Scheme != "http" && parsed.Scheme != "https" {
		return URL{}, fmt.Errorf("%q has the scheme %q: %s", text, parsed.Scheme, urlForm)
	}
	if parsed.Path != "" || parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "" || parsed.User != nil {
		return URL{}, fmt.Errorf("%q has more than a host and a port: want %s://%s", text, parsed.Scheme, parsed.Host)
	}
	_, port, err := net.SplitHostPort(parsed.Host)
	if err != nil || port == "" {
		return URL{}, fmt.Errorf("%q has no port: want %s://HOST:PORT", text, parsed.Scheme)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return URL{}, fmt.Errorf("%q has the port %s: want one up to 65535", text, port)
	}
	return URL{parsed.Scheme, parsed.Host}, nil
}

// ParseURLs parses addresses separated by commas.
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

// canonical returns the address in the form that is used for comparisons: an IP address may be
// written in several ways, and localhost is the only name that is known without a look-up.
func (u URL) canonical() URL {
	host := u.host()
	if u.Unix() || host == "" {
		return u
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	} else if host = strings.ToLower(host); host == "localhost" {
		host = "127.0.0.1"
	}
	_, port, _ := net.SplitHostPort(u.HostPort)
	return URL{u.Scheme, net.JoinHostPort(host, port)}
}

// SamePlaces reports whether two lists have the same addresses, however they are written. It
// resolves no host names; see SameAddresses.
func SamePlaces(a, b URLs) bool { return slices.Equal(a.canonical(), b.canonical()) }

// SamePlace is SamePlaces for two texts. Texts that are not URLs of a member are compared as they
// are.
func SamePlace(a, b string) bool {
	one, err := ParseURL(a)
	if err != nil {
		return a == b
	}
	other, err := ParseURL(b)
	return err == nil && one.canonical() == other.canonical()
}

func (us URLs) canonical() URLs {
	out := make(URLs, len(us))
	for i, u := range us {
		out[i] = u.canonical()
	}
	return out.sorted()
}

func mustURLs(text string) URLs {
	urls, err := ParseURLs(text)
	if err != nil {
		panic(err)
	}
	return urls
}

// setURLs accepts an empty value, for options of optional listeners.
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

// checkListen reports whether a member can listen on the addresses: a host name may have several
// addresses, so apart from localhost only IP addresses are accepted, as in etcd.
func checkListen(flag string, urls URLs) error {
	for _, u := range urls {
		if host := u.host(); !u.Unix() && host != "localhost" {
			if _, err := netip.ParseAddr(host); err != nil {
				return fmt.Errorf("%s: %q has the host %q: want an IP address of this machine to listen on, 0.0.0.0 for all, or localhost", flag, u, host)
			}
		}
	}
	return nil
}

// checkAdvertise reports whether others can connect to the addresses.
func (c *Config) checkAdvertise(flag string, urls URLs) error {
	for _, u := range urls {
		host := u.host()
		if host == "" && !u.Unix() {
			return fmt.Errorf("%s: %q has no host: want an address that others can reach", flag, u)
		}
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
			c.warn("address cannot be reached by others", flag, u.String()+" means every address of the machine that uses it")
		}
	}
	return nil
}
