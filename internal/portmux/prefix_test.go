package portmux

import (
	"io"
	"net"
	"testing"
)

// TestPrefixConnDropsItsHead: once the head has been read, the connection does not keep its buffer:
// thousands of long polls over TLS would each keep 4 KiB.
func TestPrefixConnDropsItsHead(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	c := &prefixConn{Conn: server, head: append(make([]byte, 0, 4096), "head"...)}
	defer c.Close()
	go io.WriteString(client, "rest")
	got := make([]byte, len("headrest"))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "headrest" {
		t.Fatalf("read %q, %v", got, err)
	}
	if c.head != nil {
		t.Errorf("a buffer of %d bytes is kept", cap(c.head))
	}
}
