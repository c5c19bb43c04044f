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
// socket in there: `etcdctl backup` takes a data directory and nothing else, and what is on disk
// alone would be consistent only once it stands still.
const (
	socketName    = "backup.sock"
	socketTimeout = time.Minute // without progress
)

// socketPath returns the name of the socket in a directory of which f is open: a socket's name may
// have 108 bytes at most, and a data directory's has no such limit.
func socketPath(f *os.File) string {
	if path := filepath.Join(f.Name(), socketName); len(path) < 100 {
		return path
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), socketName)
}

// Serve gives the stream of state to everybody who connects to the socket in the member's
// directory, one at a time, until ctx ends. It returns at once where the directory takes no socket;
// then the member can be backed up by `etcdctl snapshot save` alone.
func Serve(ctx context.Context, memberDir string, log *slog.Logger, state func() (*snapshot.Source, error)) {
	dir, err := os.Open(memberDir)
	if err != nil {
		log.Warn("no backups through the data directory", "error", err)
		return
	}
	defer dir.Close()
	path := socketPath(dir)
	if err := remove(filepath.Join(memberDir, socketName)); err != nil { // of an earlier life
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
		if err := give(ctx, conn, state); err != nil && ctx.Err() == nil {
			log.Warn("backup through the data directory", "error", err)
		}
	}
}

// give writes a stream to a connection.
func give(ctx context.Context, conn net.Conn, state func() (*snapshot.Source, error)) (err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { err = errors.Join(err, conn.Close()) }()
	source, err := state()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	_, err = io.Copy(patient{conn}, source)
	return err
}

// patient is a connection that is given up when it has made no progress for a while.
type patient struct{ net.Conn }

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(socketTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(socketTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// fromRunning asks a running member for its state.
func (t *Target) fromRunning(ctx context.Context, source string) (err error) {
	const way = "use `ETCDCTL_API=3 etcdctl snapshot save` and `snapshot restore`, or stop the member for the backup"
	dir, err := os.Open(filepath.Join(source, "member"))
	if err != nil {
		return fmt.Errorf("data directory %s: %w", source, err)
	}
	defer dir.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socketPath(dir))
	if err != nil {
		return fmt.Errorf("data directory %s: its member runs, and does not answer on %s: %w: %s", source, filepath.Join("member", socketName), err, way)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := t.createFrom(patient{conn}); err != nil {
		return fmt.Errorf("data directory %s: state of the running member: %w", source, err)
	}
	return nil
}
