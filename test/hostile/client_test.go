package hostile

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"cairn/test/grpctest"
)

// open connects to the member. size is the flow control window that the client offers: 0 makes the
// responses wait in the member, a large one in its socket.
func (x *target) open(t *testing.T, size uint32) *grpctest.RawClient {
	t.Helper()
	c := grpctest.RawDial(t, x.server.Address())
	_ = c.Conn.SetDeadline(time.Now().Add(10 * time.Minute))
	_ = c.Framer.WriteSettings(window(size))
	if size > 0 {
		_ = c.Framer.WriteWindowUpdate(0, 1<<30)
	}
	return c
}

const windowMax = 1<<31 - 1

func window(size uint32) http2.Setting {
	return http2.Setting{ID: http2.SettingInitialWindowSize, Val: size}
}

// head returns the header fields of a call.
func head(path string, more ...string) []string {
	return append([]string{
		":method", "POST", ":scheme", "http", ":path", path, ":authority", "hostile",
		"content-type", "application/grpc", "te", "trailers",
	}, more...)
}

// encode returns the protobuf encoding of an etcd message.
func encode(m protoadapt.MessageV1) []byte {
	b, err := proto.Marshal(protoadapt.MessageV2Of(m))
	if err != nil {
		panic(err)
	}
	return b
}

// framed returns a gRPC message.
func framed(compressed byte, b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{compressed}, uint32(len(b))), b...)
}

// call sends a call with one message. An error means that the member has closed the connection,
// which it may.
func call(c *grpctest.RawClient, id uint32, end bool, path string, message []byte, more ...string) error {
	c.Headers(id, false, head(path, more...)...)
	for len(message) > 16384 {
		if err := c.Framer.WriteData(id, false, message[:16384]); err != nil {
			return err
		}
		message = message[16384:]
	}
	return c.Framer.WriteData(id, end, message)
}

// drain reads and discards the member's data, so that a connection's windows and sockets never
// fill.
func drain(nc net.Conn) {
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := nc.Read(buf); err != nil {
				return
			}
		}
	}()
}

const (
	rangePath = "/etcdserverpb.KV/Range"
	putPath   = "/etcdserverpb.KV/Put"
)

// everything is a list of all keys; sorted returns only ten of them, but the member must read all.
func everything(sorted bool) []byte {
	r := &etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	if sorted {
		r.SortTarget, r.SortOrder, r.Limit = etcdserverpb.RangeRequest_VALUE, etcdserverpb.RangeRequest_DESCEND, 10
	}
	return framed(0, encode(r))
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	_, _ = z.Write(b)
	_ = z.Close()
	return framed(1, out.Bytes())
}
