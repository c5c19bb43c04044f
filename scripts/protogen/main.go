// Protogen makes Go code of the .proto files named as arguments: name=path, where name is what the
// file is registered as.
//
// It is a module of its own, so that the compiler of such files is no dependency of cairn's. What
// the files import is taken from the published Go packages, which carry their descriptors: nothing
// has to be copied here.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	_ "go.etcd.io/etcd/api/v3/etcdserverpb" // registers what the files import
	_ "google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	for _, arg := range os.Args[1:] {
		name, path, ok := strings.Cut(arg, "=")
		if !ok {
			fatal(fmt.Errorf("%q: want NAME=PATH", arg))
		}
		if err := generate(name, path); err != nil {
			fatal(fmt.Errorf("%s: %w", path, err))
		}
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "protogen:", err)
	os.Exit(1)
}

func generate(name, file string) error {
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	compiler := protocompile.Compiler{Resolver: protocompile.CompositeResolver{
		&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{name: string(source)})},
		protocompile.ResolverFunc(func(imported string) (protocompile.SearchResult, error) {
			file, err := protoregistry.GlobalFiles.FindFileByPath(imported)
			return protocompile.SearchResult{Desc: file}, err
		}),
	}, SourceInfoMode: protocompile.SourceInfoStandard}
	files, err := compiler.Compile(context.Background(), name)
	if err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{name}, Parameter: proto.String("paths=source_relative"),
		ProtoFile: withImports(nil, map[string]bool{}, files[0]),
	}
	in, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	plugin := exec.Command("go", "run", "google.golang.org/protobuf/cmd/protoc-gen-go")
	plugin.Stdin, plugin.Stderr = bytes.NewReader(in), os.Stderr
	out, err := plugin.Output()
	if err != nil {
		return fmt.Errorf("protoc-gen-go: %w", err)
	}
	response := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(out, response); err != nil {
		return err
	}
	if response.GetError() != "" {
		return fmt.Errorf("protoc-gen-go: %s", response.GetError())
	}
	for _, f := range response.File {
		to := filepath.Join(filepath.Dir(file), filepath.Base(f.GetName()))
		if err := os.WriteFile(to, []byte(f.GetContent()), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// withImports appends a file's descriptor behind those of all that it imports.
func withImports(to []*descriptorpb.FileDescriptorProto, seen map[string]bool, file protoreflect.FileDescriptor) []*descriptorpb.FileDescriptorProto {
	if seen[file.Path()] {
		return to
	}
	seen[file.Path()] = true
	own := protodesc.ToFileDescriptorProto(file)
	imports := file.Imports()
	for i := range imports.Len() {
		imported := imports.Get(i).FileDescriptor
		if imported.IsPlaceholder() {
			// etcd registers its files without the directories by which they import each other.
			if found, err := protoregistry.GlobalFiles.FindFileByPath(path.Base(imported.Path())); err == nil {
				imported, own.Dependency[i] = found, found.Path()
			}
		}
		to = withImports(to, seen, imported)
	}
	return append(to, own)
}
