package console

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBuiltFromSources fails when a source of the console was changed and `make console` was not
// run since, so that the files that are embedded are those of the sources beside them.
func TestBuiltFromSources(t *testing.T) {
	const root = "../../web"
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "node_modules" || name == "test" {
				return filepath.SkipDir
			}
			return nil
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	hash := sha256.New()
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(hash, "%s %d\n", name, len(content))
		hash.Write(content)
	}
	recorded, err := os.ReadFile("dist/sources.sha256")
	if err != nil {
		t.Fatal(err)
	}
	if computed := hex.EncodeToString(hash.Sum(nil)); computed != strings.TrimSpace(string(recorded)) {
		t.Errorf("internal/console/dist was built from other sources than those in web/: run make console, and commit both (hash computed %s, recorded %s)", computed, strings.TrimSpace(string(recorded)))
	}
}

// TestSize keeps the console below 300 KiB gzipped.
func TestSize(t *testing.T) {
	const most = 300 << 10
	var total int64
	files, err := filepath.Glob("dist/assets/*.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > most {
		t.Errorf("the console is %d bytes gzipped: want %d at most", total, most)
	}
}
