package portmux

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsentBytesMax is how many bytes the kernel takes of a connection beyond what it has sent. Its
// default is megabytes, which a client that does not read would occupy, and which are filled
// without a pause.
const unsentBytesMax = 256 << 10

// limitUnsent sets unsentBytesMax. Bytes that were sent but not acknowledged do not count, so
// that the throughput of connections with a long round trip does not fall.
func limitUnsent(nc net.Conn) {
	for {
		wrapper, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = wrapper.NetConn()
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = raw.Control(func(fd uintptr) {
		// A kernel that does not know the option keeps its default.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytesMax)
	})
}
