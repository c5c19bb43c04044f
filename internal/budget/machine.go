package budget

import (
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"
)

// Machine returns the number of bytes of memory that this process may use: the least of its
// cgroup's limits and the machine's memory. It returns 0 when neither can be read.
func Machine() int64 { return machine(os.ReadFile) }

// machine is Machine with the files read by readFile.
func machine(readFile func(name string) ([]byte, error)) int64 {
	least := int64(0)
	consider := func(n int64, err error) {
		// cgroup v1 reports "no limit" as a number near 2^63.
		if err == nil && n > 0 && n < 1<<62 && (least == 0 || n < least) {
			least = n
		}
	}
	if text, err := readFile("/proc/meminfo"); err == nil {
		for line := range bytes.Lines(text) {
			if f := strings.Fields(string(line)); len(f) >= 2 && f[0] == "MemTotal:" {
				kib, err := strconv.ParseInt(f[1], 10, 52)
				consider(kib<<10, err)
			}
		}
	}
	for _, name := range limitFiles(readFile) {
		if text, err := readFile(name); err == nil {
			// "max" is not a number
			consider(strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64))
		}
	}
	return least
}

// limitFiles lists the files with the memory limits of this process's cgroup and of those above it,
// of both versions of cgroups.
func limitFiles(readFile func(name string) ([]byte, error)) []string {
	names := []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}
	text, err := readFile("/proc/self/cgroup")
	if err != nil {
		return names
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // ID:controllers:path
		if len(parts) != 3 {
			continue
		}
		root, file := "/sys/fs/cgroup", "memory.max"
		if parts[1] != "" {
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		if parts[1] != "" && !strings.Contains(","+parts[1]+",", ",memory,") {
			continue
		}
		for dir := path.Clean("/" + parts[2]); dir != "/"; dir = path.Dir(dir) {
			names = append(names, path.Join(root, dir, file))
		}
	}
	return names
}
