// Command sbom writes a software bill of materials for Go programs, in CycloneDX 1.5 as JSON:
//
//	go run ./scripts/sbom PROGRAM… >sbom.cdx.json
//
// It owns the translation of what the linker has written into a program (runtime/debug.BuildInfo)
// to the format. It consults nothing else, so that the bill describes the program itself.
//
// Invariant: equal programs give equal bytes. The date is SOURCE_DATE_EPOCH; without it there is
// none.
//
// Concurrency: none.
package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"cairn/internal/version"
)

func main() {
	if err := run(os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// bill is a document of CycloneDX, as far as it is used.
type bill struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp,omitempty"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

const product = "cairn"

func run(programs []string, epoch string, w io.Writer) error {
	if len(programs) == 0 {
		return errors.New("no program given: want paths of Go programs")
	}
	root := component{Type: "application", Ref: product, Name: product, Version: version.Cairn}
	b := bill{Format: "CycloneDX", SpecVersion: "1.5", Version: 1, Metadata: metadata{Component: root}}
	if epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds", epoch)
		}
		b.Metadata.Timestamp = time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	all := dependency{Ref: product}
	libraries := map[string]component{}
	for _, path := range slices.Sorted(slices.Values(programs)) {
		program, used, err := describe(path)
		if err != nil {
			return err
		}
		b.Components = append(b.Components, program)
		all.DependsOn = append(all.DependsOn, program.Ref)
		needs := dependency{Ref: program.Ref}
		for _, library := range used {
			libraries[library.Ref] = library
			needs.DependsOn = append(needs.DependsOn, library.Ref)
		}
		b.Dependencies = append(b.Dependencies, needs)
	}
	b.Dependencies = append([]dependency{all}, b.Dependencies...)
	for _, library := range libraries {
		b.Components = append(b.Components, library)
	}
	slices.SortFunc(b.Components, func(x, y component) int {
		return cmp.Or(strings.Compare(x.Type, y.Type), strings.Compare(x.Ref, y.Ref))
	})
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(b)
}

// describe returns a program and the modules that it was linked from, Go's library among them.
func describe(path string) (program component, used []component, err error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return program, nil, fmt.Errorf("read the modules of %s: %w", path, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return program, nil, err
	}
	sum := sha256.Sum256(text)
	name := filepath.Base(path)
	program = component{
		Type: "application", Ref: product + "/" + name, Name: name, Version: version.Cairn,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
	}
	for _, s := range info.Settings {
		if s.Key == "GOOS" || s.Key == "GOARCH" || s.Key == "CGO_ENABLED" {
			program.Properties = append(program.Properties, property{"go:build:" + s.Key, s.Value})
		}
	}
	used = append(used, library("stdlib", strings.TrimPrefix(info.GoVersion, "go"), ""))
	for _, m := range info.Deps {
		used = append(used, library(effective(m)))
	}
	slices.SortFunc(used, func(x, y component) int { return strings.Compare(x.Ref, y.Ref) })
	return program, used, nil
}

// effective returns what was linked for a module: its replacement, if it has one.
func effective(m *debug.Module) (path, version, sum string) {
	for m.Replace != nil {
		m = m.Replace
	}
	return m.Path, m.Version, m.Sum
}

func library(path, version, sum string) component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	c := component{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl}
	if sum != "" {
		c.Properties = []property{{"go:sum", sum}}
	}
	return c
}
