package http2

import "time"

// Tune lowers limits for tests. Zero values leave a limit unchanged.
type Tune struct {
	HeaderBytes, RecvBytes, SendBytes int
	WriteTimeout                      time.Duration
}

// Apply sets the limits of a server without connections.
func (u Tune) Apply(s *Server) {
	l := &s.limits
	if u.HeaderBytes > 0 {
		l.headerBytes = u.HeaderBytes
	}
	if u.RecvBytes > 0 {
		l.recvBytes = u.RecvBytes
	}
	if u.SendBytes > 0 {
		l.sendBytes = u.SendBytes
	}
	if u.WriteTimeout > 0 {
		l.writeTimeout = u.WriteTimeout
	}
}
