package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"cairn/test/fleet"
)

// requestAttacks are made on the client port, with the credentials of the user fuzz, without any,
// or with wrong ones.
var requestAttacks = []attack{
	{"gRPC", grpcCalls},
	{"frames of HTTP/2", http2Frames},
	{"JSON", jsonRequests},
	{"v2", v2Requests},
	{"client bytes", clientBytes},
}

// rawConn is a connection of gRPC on which messages are bytes.
type rawConn struct{ *grpc.ClientConn }

// rawCodec passes bytes on.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

// connTo returns the attacker's connection to a member, now and then a new one.
func (a *attacker) connTo(m *fleet.Member) (*rawConn, error) {
	if c := a.conns[m]; c != nil {
		if a.rng.IntN(100) > 0 {
			return c, nil
		}
		_ = c.Close()
	}
	c, err := grpc.NewClient(m.ClientAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return nil, err
	}
	a.conns[m] = &rawConn{c}
	return a.conns[m], nil
}

// close closes the attacker's connections.
func (a *attacker) close() {
	for _, c := range a.conns {
		_ = c.Close()
	}
}

// tokenMaxAge is for how long a token is used; members end them after 300 s without use.
const tokenMaxAge = time.Minute

// authorized returns a context with a token: the user's, none, or a wrong one.
func (a *attacker) authorized(ctx context.Context, m *fleet.Member) context.Context {
	if time.Since(a.asked) > tokenMaxAge {
		a.asked = time.Now()
		c, err := grpc.NewClient(m.ClientAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err == nil {
			resp, err := etcdserverpb.NewAuthClient(c).Authenticate(ctx, &etcdserverpb.AuthenticateRequest{Name: chaosUser, Password: chaosPassword})
			if err == nil {
				a.token = resp.Token
			}
			_ = c.Close()
		}
	}
	switch a.rng.IntN(20) {
	case 0:
		return ctx
	case 1:
		return metadata.AppendToOutgoingContext(ctx, "token", strings.Repeat("x.", a.rng.IntN(200)))
	default:
		return metadata.AppendToOutgoingContext(ctx, "token", a.token)
	}
}

// grpcCalls makes a call with random messages. Errors are what is expected.
func grpcCalls(ctx context.Context, a *attacker, m *fleet.Member) error {
	conn, err := a.connTo(m)
	if err != nil {
		return err
	}
	ctx = a.authorized(ctx, m)
	call := pick(a.rng, methods...)
	if !call.stream {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(1+a.rng.IntN(600))*time.Millisecond)
		defer cancel()
		in, out := a.wire(call), []byte(nil)
		_ = conn.Invoke(ctx, call.path, &in, &out)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(1+a.rng.IntN(300))*time.Millisecond)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, call.path)
	if err != nil {
		return nil
	}
	for range 1 + a.rng.IntN(20) {
		in := a.wire(call)
		if stream.SendMsg(&in) != nil {
			break
		}
	}
	if a.rng.IntN(2) == 0 {
		_ = stream.CloseSend()
	}
	for range a.rng.IntN(10) {
		var out []byte
		if stream.RecvMsg(&out) != nil {
			break
		}
	}
	return nil
}

func dialClient(ctx context.Context, m *fleet.Member) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.ClientAddress())
	if err == nil {
		deadline, _ := ctx.Deadline()
		err = conn.SetDeadline(deadline)
	}
	return conn, err
}

// http2Frames sends random frames behind HTTP/2's preface.
func http2Frames(ctx context.Context, a *attacker, m *fleet.Member) error {
	conn, err := dialClient(ctx, m)
	if err != nil {
		return nil
	}
	defer a.hangUp(conn)
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	f.AllowIllegalWrites = true
	_ = f.WriteSettings()
	for range 1 + a.rng.IntN(30) {
		payload := a.bytes(200)
		if a.rng.IntN(50) == 0 {
			payload = make([]byte, 16<<10)
		}
		id := pick(a.rng, uint32(0), 1, 1, 3, 5, 2, a.rng.Uint32N(1<<31))
		_ = f.WriteRawFrame(http2.FrameType(a.rng.IntN(12)), http2.Flags(a.rng.Uint32()), id, payload)
	}
	_, _ = conn.Write(out.Bytes())
	return nil
}

// clientBytes sends bytes without any form.
func clientBytes(ctx context.Context, a *attacker, m *fleet.Member) error {
	conn, err := dialClient(ctx, m)
	if err != nil {
		return nil
	}
	_, _ = conn.Write(a.bytes(4 << 10))
	a.hangUp(conn)
	return nil
}

// send sends a request of HTTP/1 by hand, and reads some of the answer.
func (a *attacker) send(ctx context.Context, m *fleet.Member, method, target string, headers []string, body []byte) {
	conn, err := dialClient(ctx, m)
	if err != nil {
		return
	}
	defer a.hangUp(conn)
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, m.ClientAddress())
	if a.rng.IntN(4) > 0 {
		headers = append(headers, "Connection: close")
	}
	for _, h := range headers {
		out.WriteString(h + "\r\n")
	}
	length := len(body)
	if a.rng.IntN(20) == 0 {
		length += a.rng.IntN(2000) - 50
	}
	fmt.Fprintf(&out, "Content-Length: %d\r\n\r\n", length)
	out.Write(body)
	_, _ = conn.Write(out.Bytes())
	_ = conn.SetReadDeadline(time.Now().Add(time.Duration(1+a.rng.IntN(300)) * time.Millisecond))
	_, _ = io.Copy(io.Discard, io.LimitReader(conn, int64(a.rng.IntN(1<<16))))
}

// jsonRequests sends a random message to the JSON gateway.
func jsonRequests(ctx context.Context, a *attacker, m *fleet.Member) error {
	call := pick(a.rng, methods...)
	if call.json == "" {
		return nil
	}
	_ = a.authorized(ctx, m) // renews the token
	headers := []string{"Content-Type: " + pick(a.rng, "application/json", "text/plain", "application/x-www-form-urlencoded", "")}
	if a.rng.IntN(10) > 0 {
		headers = append(headers, "Authorization: "+a.token)
	}
	verb := pick(a.rng, "POST", "POST", "POST", "POST", "POST", "GET", "PUT", "OPTIONS")
	if a.rng.IntN(15) == 0 {
		verb = "GET"
		headers = append(headers, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	}
	a.send(ctx, m, verb, call.json+pick(a.rng, "", "", "", "", "/", "?x=%zz"), headers, a.text(call))
	return nil
}

// v2Requests sends a random request of the v2 API.
func v2Requests(ctx context.Context, a *attacker, m *fleet.Member) error {
	path := pick(a.rng, "/v2/keys", "/v2/keys", "/v2/keys", "/v2/keys", "/v2/keys", "/v2/keys", "/v2/auth/users", "/v2/auth/roles", "/v2/auth/enable",
		"/v2/members", "/v2/stats/self", "/v2/stats/leader", "/v2/stats/store", "/v2/machines", "/v2/admin", "/version", "/health", "/debug/vars")
	if path == "/v2/keys" {
		path += pick(a.rng, a.v2Path(), a.v2Path(), a.v2Path(), a.v2Path(), "/", "", "/d", "/_hidden", "/"+url.PathEscape(string(a.bytes(30))))
	}
	query, form := url.Values{}, url.Values{}
	for _, name := range []string{"value", "ttl", "dir", "recursive", "prevValue", "prevIndex", "prevExist", "wait", "waitIndex", "quorum", "sorted", "stream", "refresh", "noValueOnSuccess"} {
		if a.rng.IntN(6) > 0 {
			continue
		}
		in := pick(a.rng, query, form)
		in.Set(name, pick(a.rng, "", "true", "false", "1", "2", "0", "-1", fmt.Sprint(a.number()), "x", string(a.bytes(30))))
	}
	if a.rng.IntN(3) > 0 {
		form.Set("value", string(a.bytes(100)))
	}
	headers := []string{"Content-Type: " + pick(a.rng, "application/x-www-form-urlencoded", "application/x-www-form-urlencoded", "application/json", "")}
	if a.rng.IntN(6) > 0 {
		headers = append(headers, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(chaosUser+":"+pick(a.rng, chaosPassword, chaosPassword, chaosPassword, "wrong"))))
	}
	body := []byte(form.Encode())
	if a.rng.IntN(15) == 0 {
		a.damage(body)
	}
	a.send(ctx, m, pick(a.rng, "GET", "PUT", "PUT", "PUT", "POST", "DELETE", "HEAD", "PATCH"), path+"?"+query.Encode(), headers, body)
	return nil
}

// v2Path returns the path of a node below the attackers' directory.
func (a *attacker) v2Path() string {
	path := chaosDir
	for range 1 + a.rng.IntN(pick(a.rng, 2, 2, 2, 4, 40)) {
		path += fmt.Sprintf("/%d", a.rng.IntN(6))
	}
	return path
}
