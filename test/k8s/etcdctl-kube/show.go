package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// The first bytes of values, by their encoding.
var (
	protobufMagic  = []byte("k8s\x00")
	encryptedMagic = []byte("k8s:enc:")
)

// show returns a value as YAML, without the managedFields of its metadata, as kubectl shows it:
// they are longer than the rest of most objects, and differ between all versions of one.
func show(value []byte) []byte {
	switch {
	case bytes.HasPrefix(value, encryptedMagic):
		return encrypted(value)
	case bytes.HasPrefix(value, protobufMagic):
		return ofKubernetes(value)
	}
	// Custom resources are stored as JSON.
	if text, ok := custom(value); ok {
		return text
	}
	if utf8.Valid(value) {
		return fmt.Appendf(nil, "# not of Kubernetes\n%s\n", value)
	}
	return comment(value, "not of Kubernetes")
}

// custom returns a custom resource as YAML. Values that are not objects of JSON are none.
func custom(value []byte) (text []byte, ok bool) {
	if !bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")) {
		return nil, false
	}
	var object map[string]any
	in := json.NewDecoder(bytes.NewReader(value))
	in.UseNumber() // keeps the digits of large integers
	if err := in.Decode(&object); err != nil {
		return nil, false
	}
	if metadata, ok := object["metadata"].(map[string]any); ok {
		delete(metadata, "managedFields")
	}
	value, err := json.Marshal(object)
	if err != nil {
		return nil, false
	}
	text, err = yaml.JSONToYAML(value)
	return text, err == nil
}

// encrypted describes a value that the API server has encrypted: k8s:enc:PROVIDER:VERSION:KEY:…
func encrypted(value []byte) []byte {
	parts := strings.SplitN(string(value[:min(len(value), 512)]), ":", 6)
	provider, key := "unknown", "unknown"
	if len(parts) > 2 {
		provider = parts[2]
	}
	if len(parts) > 4 {
		key = parts[4]
	}
	return fmt.Appendf(nil, "# encrypted by the API server: provider %q, key %q, %d bytes\n", provider, key, len(value))
}

// ofKubernetes decodes an object of one of Kubernetes' own types.
func ofKubernetes(value []byte) []byte {
	object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(value, nil, nil)
	if err != nil {
		var unknown runtime.Unknown
		if unknown.Unmarshal(value[len(protobufMagic):]) == nil && unknown.Kind != "" {
			return comment(value, fmt.Sprintf("apiVersion %q, kind %q: unknown to this etcdctl-kube", unknown.APIVersion, unknown.Kind))
		}
		return comment(value, "protobuf of Kubernetes that cannot be decoded: "+err.Error())
	}
	object.GetObjectKind().SetGroupVersionKind(*kind)
	if metadata, err := meta.Accessor(object); err == nil {
		metadata.SetManagedFields(nil)
	}
	text, err := yaml.Marshal(object)
	if err != nil {
		return comment(value, fmt.Sprintf("kind %q: %v", kind.Kind, err))
	}
	return text
}

// comment describes a value that is not shown as YAML, and has its bytes.
func comment(value []byte, what string) []byte {
	return fmt.Appendf(nil, "# %s, %d bytes\n# base64: %s\n", strings.ReplaceAll(what, "\n", " "), len(value), base64.StdEncoding.EncodeToString(value))
}
