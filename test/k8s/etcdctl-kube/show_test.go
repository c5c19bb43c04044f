package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// stored returns an object as the API server stores it.
func stored(t *testing.T, object runtime.Object) []byte {
	t.Helper()
	var b bytes.Buffer
	encoder := scheme.Codecs.EncoderForVersion(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), corev1.SchemeGroupVersion)
	if err := encoder.Encode(object, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pod(t *testing.T) []byte {
	return stored(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
	})
}

func TestShow(t *testing.T) {
	value := pod(t)
	if !bytes.HasPrefix(value, protobufMagic) {
		t.Fatalf("the API server's form begins with %q", value[:8])
	}
	unknown, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "example.com/v9", Kind: "Gadget"}, Raw: []byte("x")}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		value []byte
		want  []string
	}{
		{value, []string{"apiVersion: v1\nkind: Pod\n", "  name: web\n", "  - image: nginx\n", "    app: web\n"}},
		{[]byte(`{"apiVersion":"example.com/v1","kind":"Widget","spec":{"size":3}}`), []string{"kind: Widget\nspec:\n  size: 3\n"}},
		{[]byte("k8s:enc:aescbc:v1:key1:\x00\x01\x02"), []string{`provider "aescbc", key "key1"`}},
		{[]byte("k8s:enc:kms:v2:"), []string{`provider "kms", key ""`}},
		{append([]byte("k8s\x00"), unknown...), []string{`apiVersion "example.com/v9", kind "Gadget": unknown`, "# base64: azhz"}},
		{value[:len(value)-5], []string{"cannot be decoded", "# base64: "}},
		{[]byte("k8s\x00"), []string{"# "}},
		{[]byte("plain"), []string{"# not of Kubernetes\nplain\n"}},
		{[]byte{0xff, 0}, []string{"# not of Kubernetes, 2 bytes\n"}},
		{nil, []string{"# not of Kubernetes\n"}},
	} {
		got := string(show(c.value))
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("show(%.40q) = %q, want %q in it", c.value, got, want)
			}
		}
	}
}

// TestShowWithoutManagedFields: large integers of a custom resource keep their digits.
func TestShowWithoutManagedFields(t *testing.T) {
	fields := []metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: "Apply"}}
	for _, c := range []struct {
		value []byte
		want  string
	}{
		{stored(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf", ManagedFields: fields}}), "  name: conf\n"},
		{[]byte(`{"kind":"Widget","metadata":{"managedFields":[{"manager":"kubectl"}],"name":"w"},"spec":{"size":9007199254740993}}`), "  size: 9007199254740993\n"},
	} {
		if got := string(show(c.value)); !strings.Contains(got, c.want) || strings.Contains(got, "anagedFields") {
			t.Errorf("show(%.40q) = %q, want %q in it and no managedFields", c.value, got, c.want)
		}
	}
}

func TestServe(t *testing.T) {
	var in, out bytes.Buffer
	for _, value := range [][]byte{pod(t), nil, []byte("plain")} {
		in.Write(binary.BigEndian.AppendUint32(nil, uint32(len(value))))
		in.Write(value)
	}
	if err := run(nil, &in, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kind: Pod", "not of Kubernetes", "plain"} {
		n := int(binary.BigEndian.Uint32(out.Next(4)))
		if got := string(out.Next(n)); !strings.Contains(got, want) {
			t.Errorf("response %q, want %q in it", got, want)
		}
	}
	if err := run(nil, strings.NewReader("\x00\x00\x00\x09cut"), &out); err == nil {
		t.Error("a request that is cut short is answered")
	}
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, pod(t), 0o600); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := run([]string{file}, nil, &out); err != nil || !strings.HasPrefix(out.String(), "apiVersion: v1\nkind: Pod\n") {
		t.Errorf("a file is shown as %q, %v", out.String(), err)
	}
}
