package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The sections of a configuration file that have keys: the prefix that makes a key the flag's name.
var fileSections = map[string]string{
	"client-transport-security": "",
	"peer-transport-security":   "peer-",
	"socket-options":            "socket-",
}

// fileSectionKeys are the keys of these sections whose flags are not prefix and key.
var fileSectionKeys = map[string]string{
	"allowed-cn":        "cert-allowed-cn",
	"allowed-cns":       "cert-allowed-cn",
	"allowed-hostname":  "cert-allowed-hostname",
	"allowed-hostnames": "cert-allowed-hostname",
}

// flagOfKey returns the flag of a key in a section.
func flagOfKey(prefix, key string) string {
	if full, ok := fileSectionKeys[key]; ok {
		key = full
	}
	if prefix == "" && (key == "crl-file" || key == "cert-allowed-hostname") {
		return "client-" + key
	}
	return prefix + key
}

// durations are the options with durations. etcd decodes its configuration files into Go's
// durations, so that a whole number means nanoseconds.
var durations = []string{
	"backend-batch-interval", "compact-hash-check-time", "compaction-sleep-interval", "corrupt-check-time", "discovery-dial-timeout",
	"discovery-keepalive-time", "discovery-keepalive-timeout", "discovery-request-timeout", "downgrade-check-time",
	"grpc-keepalive-interval", "grpc-keepalive-min-time", "grpc-keepalive-timeout", "raft-read-timeout", "raft-write-timeout",
	"wait-cluster-ready-timeout", "warning-apply-duration", "warning-unary-request-duration", "watch-progress-notify-interval",
}

func isDuration(name string) bool {
	if to, ok := renamed[name]; ok {
		name = to
	}
	return slices.Contains(durations, name)
}

// parseFile parses a configuration file: YAML, or JSON, which is a kind of YAML. Keys are flags'
// names without the dashes, values are strings, numbers, booleans or lists of them; a key without a
// value counts as absent, as in etcd's sample. An unknown key causes a warning, since etcd ignores
// it.
func (c *Config) parseFile(file setting, readFile func(string) ([]byte, error)) (map[string]setting, error) {
	text, err := readFile(file.value)
	if err != nil {
		if cause := new(fs.PathError); errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, fmt.Errorf("%s: read configuration file %s: %w", file.source, file.value, err)
	}
	keys, err := parseYAML(text)
	if err != nil {
		return nil, fmt.Errorf("%s: configuration file %s: %w", file.source, file.value, err)
	}
	found := map[string]setting{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if key == discoverySection {
			if err := c.addDiscovery(found, file.value+": "+key, "", keys[key]); err != nil {
				return nil, err
			}
			continue
		}
		if prefix, ok := fileSections[key]; ok {
			section, ok := keys[key].(map[string]any)
			if !ok && keys[key] != nil {
				return nil, fmt.Errorf("%s: %s: want the section's keys below it", file.value, key)
			}
			for _, below := range slices.Sorted(maps.Keys(section)) {
				if err := c.addKey(found, flagOfKey(prefix, below), file.value+": "+key+"."+below, section[below]); err != nil {
					return nil, err
				}
			}
			continue
		}
		if err := c.addKey(found, key, file.value+": "+key, keys[key]); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (c *Config) addKey(found map[string]setting, name, source string, value any) error {
	text, given, err := fileValue(value)
	if err != nil {
		return errorAt(source, err)
	}
	if _, number := value.(json.Number); number && isDuration(name) {
		text += "ns"
	}
	_, known := isBoolean(name)
	switch {
	case !known || slices.Contains([]string{"config-file", "help", "version"}, name):
		c.warn("unrecognised key in configuration file", source, "")
	case given:
		found[name] = setting{value: text, source: source}
	}
	return nil
}

func parseYAML(text []byte) (map[string]any, error) {
	asJSON, err := yaml.YAMLToJSONStrict(text) // strict refuses duplicate keys
	if err != nil {
		return nil, fmt.Errorf("is not YAML: %s", strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber() // 8589934592 must not become 8.589934592e+09
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("is not YAML: %w", err)
	}
	switch value := value.(type) {
	case nil: // an empty file
		return nil, nil
	case map[string]any:
		return value, nil
	}
	return nil, errors.New("is not a list of settings: want lines like name: default")
}

// fileValue returns a value in the form of a flag's.
func fileValue(value any) (text string, given bool, err error) {
	switch value := value.(type) {
	case nil:
		return "", false, nil
	case string:
		return value, value != "", nil
	case bool:
		return fmt.Sprint(value), true, nil
	case json.Number:
		return value.String(), true, nil
	case []any:
		var parts []string
		for _, v := range value {
			part, given, err := fileValue(v)
			if err != nil {
				return "", false, err
			}
			if given {
				parts = append(parts, part)
			}
		}
		return strings.Join(parts, ","), len(parts) > 0, nil
	}
	return "", false, errors.New("has keys below it: want a value or a list")
}
