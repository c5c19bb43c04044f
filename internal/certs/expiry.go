package certs

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Expiry is the end of validity of one certificate.
type Expiry struct {
	Role     string // "client" or "peer"
	File     string
	Subject  string
	NotAfter time.Time
}

func expiryOf(role, file string, c *x509.Certificate) Expiry {
	return Expiry{Role: role, File: file, Subject: c.Subject.String(), NotAfter: c.NotAfter}
}

const day = 24 * time.Hour

// warnBefore has the times before the end of validity at which a warning is logged.
var warnBefore = []time.Duration{30 * day, 7 * day, day, 0}

// warning identifies a logged warning: a certificate, and the last of warnBefore that was reached.
type warning struct {
	expiry Expiry
	before time.Duration
}

// warnOfExpiry logs certificates whose validity ends soon, once at each of warnBefore.
func (s *Source) warnOfExpiry() {
	now := s.opts.Now()
	for _, e := range s.Expiries() {
		left := e.NotAfter.Sub(now)
		reached := time.Duration(-1)
		for _, before := range warnBefore {
			if left <= before {
				reached = before
			}
		}
		if reached < 0 {
			continue
		}
		w := warning{e, reached}
		s.mu.Lock()
		known := s.warned[w]
		s.warned[w] = true
		s.mu.Unlock()
		if known {
			continue
		}
		attrs := []any{"role", e.Role, "file", e.File, "subject", e.Subject, "not_after", e.NotAfter.UTC().Format(time.RFC3339)}
		if left <= 0 {
			s.opts.Logger.Error("certificate has expired", attrs...)
			continue
		}
		s.opts.Logger.Warn("certificate expires soon", append(attrs, "left", leftText(left))...)
	}
}

func leftText(d time.Duration) string {
	if d >= 2*day {
		return fmt.Sprintf("%d days", int(d/day))
	}
	return d.Truncate(time.Minute).String()
}
