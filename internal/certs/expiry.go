package certs

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Expiry is the end of validity of one certificate or revocation list.
type Expiry struct {
	Role     string // "client" or "peer"
	File     string
	Subject  string // of a revocation list: its issuer
	NotAfter time.Time
	kind     expiryKind
}

// expiryKind decides which messages are logged about an Expiry.
type expiryKind int

const (
	kindLeaf      expiryKind = iota
	kindAuthority            // a trusted authority, or an intermediate one that is sent with a certificate
	kindList                 // a revocation list
)

func expiryOf(role, file string, c *x509.Certificate, kind expiryKind) Expiry {
	return Expiry{Role: role, File: file, Subject: c.Subject.String(), NotAfter: c.NotAfter, kind: kind}
}

const day = 24 * time.Hour

// warnBefore has the times before the end of validity at which a warning is logged.
var warnBefore = []time.Duration{30 * day, 7 * day, day, 0}

// warning identifies a logged warning: a certificate or revocation list, and the last of warnBefore
// that was reached.
type warning struct {
	expiry Expiry
	before time.Duration
}

// WarnOfExpiry logs certificates whose validity ends within 30 days, 7 days, a day, or has ended,
// once each, and revocation lists that are out of date. Run calls it, and so does a reload.
func (s *Source) WarnOfExpiry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnOfExpiryLocked()
}

func (s *Source) warnOfExpiryLocked() {
	now := s.opts.Now()
	for _, e := range append(s.RevocationExpiries(), s.Expiries()...) {
		left := e.NotAfter.Sub(now)
		reached := time.Duration(-1)
		for _, before := range warnBefore {
			// revocation lists are replaced often, many of them on their last day
			if left <= before && (before == 0 || e.kind != kindList) {
				reached = before
			}
		}
		if w := (warning{e, reached}); reached >= 0 && !s.warned[w] {
			s.warned[w] = true
			s.logExpiry(e, left)
		}
	}
}

func (s *Source) logExpiry(e Expiry, left time.Duration) {
	attrs := []any{"role", e.Role, "file", e.File}
	end := e.NotAfter.UTC().Format(time.RFC3339)
	if e.kind == kindList {
		s.opts.Logger.Warn("revocation list is out of date: certificates that were revoked since are still accepted",
			append(attrs, "issuer", e.Subject, "next_update", end)...)
		return
	}
	attrs = append(attrs, "subject", e.Subject, "not_after", end)
	switch {
	case left > 0:
		s.opts.Logger.Warn("certificate expires soon", append(attrs, "left", leftText(left))...)
	case e.kind == kindAuthority:
		s.opts.Logger.Error("certificate of an authority has expired: certificates that it signed are rejected", attrs...)
	default:
		s.opts.Logger.Error("certificate has expired", attrs...)
	}
}

func leftText(d time.Duration) string {
	if d >= 2*day {
		return fmt.Sprintf("%d days", int(d/day))
	}
	return d.Truncate(time.Minute).String()
}
