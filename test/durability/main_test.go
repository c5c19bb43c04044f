// Package durability kills a real server with SIGKILL, repeatedly over one data directory, while
// clients of both dialects write, and then checks for lost, repeated or partial writes.
//
// It owns the tests of these guarantees: an acknowledged write exists after a crash, with the
// acknowledged revision; a write in progress when the server died was applied once or not at all,
// as a whole; and every revision belongs to exactly one write.
//
// The writes and the times of the kills come from one seed, which a failure prints and
// CAIRN_TEST_SEED sets. (The server's own timing does not depend on it, so the same seed gives the
// same writes, not the same crash.)
//
// Concurrency: each writer of a round owns its random source and its list of writes; all writers
// have ended before the lists are read.
package durability

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	rounds = 30
	// writingMax is the maximum time of writing before the server is killed.
	writingMax = 400 * time.Millisecond
	// startingMax is the maximum time before a starting server is killed.
	startingMax = 150 * time.Millisecond
)

func TestKilledServerKeepsItsPromises(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CAIRN_TEST_SEED"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("CAIRN_TEST_SEED: %v", err)
		}
		seed = given
	}
	t.Logf("CAIRN_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	server := harness.Start(t)
	dialects := []dialect{v3Put, v3Put, v3Overwrite, v3Overwrite, v3Txn, v3Txn, v2Set, v2Set}
	if other := harness.Reference(t); other != "" {
		t.Logf("%s has separate stores for v2 and v3 keys: no writers of v2", other)
		dialects = dialects[:6]
	}
	model := newModel(t, connect(t, server.URL()))
	for round := range rounds {
		writers := startWriters(t, server.URL(), dialects, round, rand.New(rand.NewPCG(seed, uint64(round)+1)))
		time.Sleep(time.Duration(random.Int64N(int64(writingMax)))) // the random time of the kill
		acknowledged, unknown := writers.kill(server)
		// Sometimes it is also killed while it recovers.
		for random.IntN(3) == 0 {
			server.Spawn()
			time.Sleep(time.Duration(random.Int64N(int64(startingMax))))
			server.Kill()
		}
		server.Restart()
		for _, broken := range model.check(connect(t, server.URL()), acknowledged, unknown) {
			t.Error(broken)
		}
		if t.Failed() {
			t.Fatalf("round %d of %d broke promises (CAIRN_TEST_SEED=%d)", round+1, rounds, seed)
		}
	}
	t.Logf("%d writes in %d rounds, %d of them not acknowledged but there, head at revision %d", model.writes, rounds, model.revived, model.head)
	if model.writes < 10*rounds {
		t.Errorf("only %d writes in %d rounds: the server was hardly written to", model.writes, rounds)
	}
}

// connect makes a client that is closed at the end of the test.
func connect(t *testing.T, url string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, DialTimeout: time.Minute, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return client
}
