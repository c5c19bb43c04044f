// Command etcdctl-kube shows what Kubernetes stores in etcd as YAML, for `etcdctl -w kube`. It is
// in the module that has Kubernetes' packages, so that they are not among etcdctl's dependencies.
//
// It owns the translation of one value. etcdctl starts it once and asks for many: each request on
// standard input, and each response on standard output, is a length of 4 bytes, big-endian, and as
// many bytes. With a file name as argument it shows that file.
//
// Invariants: every value has a response: what cannot be decoded is described in a comment of YAML.
//
// Concurrency: none.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// valueBytesMax bounds a request: etcd's largest values are far smaller.
const valueBytesMax = 512 << 20

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "etcdctl-kube:", err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	switch len(args) {
	case 0:
		return serve(bufio.NewReader(stdin), stdout)
	case 1:
		value, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		_, err = stdout.Write(show(value))
		return err
	default:
		return errors.New("want one file, or values on standard input as etcdctl sends them")
	}
}

// serve answers requests until the input ends.
func serve(in io.Reader, out io.Writer) error {
	var length [4]byte
	for {
		if _, err := io.ReadFull(in, length[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		n := binary.BigEndian.Uint32(length[:])
		if n > valueBytesMax {
			return fmt.Errorf("a value of %d bytes, want at most %d", n, valueBytesMax)
		}
		value := make([]byte, n)
		if _, err := io.ReadFull(in, value); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		text := show(value)
		binary.BigEndian.PutUint32(length[:], uint32(len(text)))
		if _, err := out.Write(append(length[:], text...)); err != nil {
			return fmt.Errorf("write a response: %w", err)
		}
	}
}
