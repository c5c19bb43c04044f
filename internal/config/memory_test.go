package config

import "testing"

func TestSetMemory(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1073741824": 1 << 30, "1GiB": 1 << 30, "2 GiB": 2 << 30, "1GB": 1e9, "600MiB": 600 << 20, "1TiB": 1 << 40,
	} {
		var n int64
		if err := setMemory(&n, text); err != nil || n != want {
			t.Errorf("%q: %d, %v; want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1X", "9999999999GiB", "100MiB", "1.5GiB"} {
		n := int64(-7)
		if err := setMemory(&n, text); err == nil || n != -7 {
			t.Errorf("%q: %d, %v; want an error", text, n, err)
		}
	}
}
