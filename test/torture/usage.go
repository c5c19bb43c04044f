package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"cairn/test/fleet"
)

// usage is what a member's process holds.
type usage struct {
	pid, goroutines, descriptors int
	resident                     int64 // bytes
}

func (u usage) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d MB", u.goroutines, u.descriptors, u.resident>>20)
}

// usageOf measures a member.
func usageOf(ctx context.Context, m *fleet.Member) (u usage, err error) {
	u.pid = m.PID()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", u.pid))
	if err != nil {
		return u, err
	}
	u.descriptors = len(entries)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", u.pid))
	if err != nil {
		return u, err
	}
	u.resident = 1024 * number(text, "VmRSS:")
	_, text, err = m.Get(ctx, "/metrics")
	u.goroutines = int(number(text, "go_goroutines"))
	if err == nil && u.goroutines == 0 {
		err = fmt.Errorf("%s does not report go_goroutines", m.Name)
	}
	return u, err
}

// number returns the number behind a name at the beginning of a line.
func number(text []byte, name string) int64 {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// The growth that is allowed between the beginning and the end of an attack: clients reconnect, and
// pools keep the memory of the peak.
const (
	moreGoroutines  = 40
	moreDescriptors = 40
	residentMax     = 1 << 30 // --memory-limit of members that are attacked
	leakPatience    = 90 * time.Second
)

// usages measures all members.
func (b *bout) usages(ctx context.Context) (all []usage, err error) {
	for _, m := range b.fleet.Members() {
		u, err := usageOf(ctx, m)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// checkLeaks compares what the members hold with what they held before, until they are near it.
// The clients of the bout must still be at work.
func (b *bout) checkLeaks(ctx context.Context, before []usage) error {
	ctx, cancel := context.WithTimeout(ctx, leakPatience)
	defer cancel()
	for {
		now, err := b.usages(ctx)
		if err != nil {
			return fmt.Errorf("measure the members after the attacks: %w", err)
		}
		over := ""
		for i, m := range b.fleet.Members() {
			was := before[i]
			switch {
			case now[i].pid != was.pid:
				b.note("%s was restarted, so its usage is not compared", m.Name)
			case now[i].goroutines > was.goroutines+moreGoroutines, now[i].descriptors > was.descriptors+moreDescriptors, now[i].resident > residentMax:
				over = fmt.Sprintf("%s holds more than before the attacks: %v, then: %v", m.Name, now[i], was)
			}
		}
		if over == "" || !sleep(ctx, time.Second) {
			for i, m := range b.fleet.Members() {
				b.note("%s before the attacks: %v; after them: %v", m.Name, before[i], now[i])
			}
			if over != "" {
				b.violation("%s", over)
			}
			return nil
		}
	}
}
