package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cairn/internal/snapshot"
)

// A running member sends its state to any process that can enter its data directory, through a
// socket in the directory. `etcdctl backup` is given nothing but a data directory, and the files of
// a running member are not consistent.
const (
	socketName    = "backup.sock"
	socketTimeout = time.Minute // without progress
)

// socketPath returns the name of the socket in the directory that f has open. It uses /proc,
// since the name of a socket is limited to 108 bytes and that of a data directory is not.
func socketPath(f *os.File) string {
	if path := filepath.Join(f.Name(), socketName); len(path) < 100 {
		return path
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), socketName)
}

// Serve sends the stream of state to every client that connects to the socket in the member's
// directory, one at a time, until ctx ends. It returns at once if the socket cannot be created;
// then only `etcdctl snapshot save` can back up the member.
func Serve(ctx context.Context, memberDir string, log *slog.Logger, state func() (*snapshot.Source, error)) {
	dir, err := os.Open(memberDir)
	if err != nil {
		log.Warn("no backups through the data directory", "error", err)
		return
	}
	defer dir.Close()
	path := socketPath(dir)
	// left by an earlier process
	if err := remove(filepath.Join(memberDir, socketName)); err != nil {
		log.Warn("no backups through the data directory", "error", err)
		return
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		log.Warn("no backups through the data directory", "error", err)
		return
	}
	if err := os.Chmod(filepath.Join(memberDir, socketName), 0o600); err != nil {
		log.Warn("no backups through the data directory", "error", errors.Join(err, listener.Close()))
		return
	}
	var closed sync.WaitGroup
	defer closed.Wait()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() == nil {
				log.Warn("no more backups through the data directory", "error", err)
			}
			_ = listener.Close()
			return
		}
		if err := sendState(ctx, conn, state); err != nil && ctx.Err() == nil {
			log.Warn("backup through the data directory", "error", err)
		}
	}
}

// sendState writes a stream to a connection.
func sendState(ctx context.Context, conn net.Conn, state func() (*snapshot.Source, error)) (err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { err = errors.Join(err, conn.Close()) }()
	source, err := state()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	_, err = io.Copy(idleTimeoutConn{conn}, source)
	return err
}

// idleTimeoutConn is a connection that fails after a time without progress.
type idleTimeoutConn struct{ net.Conn }

func (p idleTimeoutConn) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(socketTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

func (p idleTimeoutConn) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(socketTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// fromRunning reads the state of a running member from its socket.
func (t *Target) fromRunning(ctx context.Context, source string) (err error) {
	const way = "use `ETCDCTL_API=3 etcdctl snapshot save` and `snapshot restore`, or stop the member for the backup"
	dir, err := os.Open(filepath.Join(source, "member"))
	if err != nil {
		return fmt.Errorf("data directory %s: %w", source, err)
	}
	defer dir.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socketPath(dir))
	if err != nil {
		return fmt.Errorf("data directory %s: its member runs, and does not respond on %s: %w: %s", source, filepath.Join("member", socketName), err, way)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := t.createFrom(idleTimeoutConn{conn}); err != nil {
		return fmt.Errorf("data directory %s: state of the running member: %w", source, err)
	}
	return nil
}
