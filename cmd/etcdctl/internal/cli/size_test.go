package cli

import "testing"

func TestBytesHaveUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1048576": 1048576, "2GB": 2e9, "2gb": 2e9, "8GiB": 8 << 30, "1.5 MiB": 3 << 19, "16k": 16000, "7b": 7,
		"": -1, "x": -1, "-1": -1, "5XB": -1, "GB": -1, "1e30": -1, "8 G i B": -1,
	} {
		got, err := ParseBytes(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 9: "9 B", 82: "82 B", 999: "999 B", 1000: "1.0 kB", 20480: "20 kB", 8589934592: "8.6 GB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
