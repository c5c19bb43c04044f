//go:build !linux

package tcpproxy

import (
	"errors"
	"net"
)

// loops is not implemented on this system: each connection has two goroutines.
type loops struct{}

func newLoops() (*loops, error) { return nil, errors.ErrUnsupported }

func (*loops) forward(net.Conn, net.Conn, func()) bool { return false }
func (*loops) force()                                  {}
func (*loops) close()                                  {}
