package v2tree

import "bytes"

// A path is absolute and clean: "/" alone, or names between single slashes,
// none of them empty, "." or "..". Below, a directory's prefix is its path with a
// slash at the end; so the keys below it are one range, and prefixes sort where
// the keys below them do.

// maxPathBytes rejects lengths that only damaged bytes can have; requests are limited far below it.
const maxPathBytes = 64 << 20

// The limits of a path. A node may need a directory for each name of its path, each with the whole
// path up to there as its key: their bytes are bounded by the number of names times the length.
const (
	maxNames    = 1024
	maxDirBytes = 8 << 20
)

// TooDeep reports whether a path has too many names, for its length, to be a path of v2.
func TooDeep(path []byte) bool {
	names := bytes.Count(path, slash)
	return names > maxNames || names*len(path) > maxDirBytes
}

var slash = []byte{'/'}

// ValidPath reports whether the tree can have a node at path.
func ValidPath(path []byte) bool {
	if len(path) == 0 || path[0] != '/' || len(path) > maxPathBytes {
		return false
	}
	return len(path) == 1 || invalidName(path, 1) < 0 && !TooDeep(path)
}

func isRoot(path []byte) bool { return len(path) == 1 }

// invalidName returns the end of the first invalid name at or after from, or -1 when all names are
// valid. key[from-1] is a slash.
func invalidName(key []byte, from int) int {
	for {
		end := len(key)
		if n := bytes.IndexByte(key[from:], '/'); n >= 0 {
			end = from + n
		}
		switch end - from {
		case 0:
			return end
		case 1:
			if key[from] == '.' {
				return end
			}
		case 2:
			if key[from] == '.' && key[from+1] == '.' {
				return end
			}
		}
		if end == len(key) {
			return -1
		}
		from = end + 1
	}
}

// FirstName returns the path of the first name of a path, which is not the root: /a of /a/b/c.
func FirstName(path []byte) []byte { return path[:childEnd(path, 1)] }

// parentOf returns the path of the directory that contains path.
func parentOf(path []byte) []byte {
	return path[:max(bytes.LastIndexByte(path, '/'), 1)]
}

// hidden reports whether listings leave out a name.
func hidden(name []byte) bool { return len(name) > 0 && name[0] == '_' }

// prefixOf returns the prefix of a directory.
func prefixOf(path []byte) []byte {
	if isRoot(path) {
		return path
	}
	return append(append(make([]byte, 0, len(path)+1), path...), '/')
}

// afterSubtree returns the first key after all that begin with dir and a slash.
func afterSubtree(dir []byte) []byte {
	return append(append(make([]byte, 0, len(dir)+1), dir...), '/'+1)
}

// afterPrefix returns the first key after all that begin with prefix.
func afterPrefix(prefix []byte) []byte { return afterSubtree(prefix[:len(prefix)-1]) }

// childEnd returns the end of the first name of key after prefix.
func childEnd(key []byte, prefix int) int {
	if n := bytes.IndexByte(key[prefix:], '/'); n >= 0 {
		return prefix + n
	}
	return len(key)
}
