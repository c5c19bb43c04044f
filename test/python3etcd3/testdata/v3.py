"""Keys, transactions, watches, leases, locks and members with python3-etcd3. Argument: HOST:PORT of the server."""

import queue
import sys
import time
import unittest

import etcd3

HOST, PORT = sys.argv.pop().split(":")
PATIENCE = 20  # seconds that something which must come is waited for


# One for all: a client that is closed goes on trying to watch, and says so at length.
CLIENT = etcd3.client(host=HOST, port=int(PORT), timeout=PATIENCE)


class Base(unittest.TestCase):
    """Each test works below a prefix of its own."""

    client = CLIENT

    def setUp(self):
        self.prefix = "/" + self._testMethodName + "/"

    def key(self, name):
        return self.prefix + name

    def value(self, name):
        return self.client.get(self.key(name))[0]


class Keys(Base):
    def test_put_get_delete(self):
        first = self.client.put(self.key("k"), "one")
        second = self.client.put(self.key("k"), "two", prev_kv=True)
        self.assertEqual(second.header.revision, first.header.revision + 1)
        self.assertEqual(second.prev_kv.value, b"one")
        value, meta = self.client.get(self.key("k"))
        self.assertEqual((value, meta.key, meta.version), (b"two", self.key("k").encode(), 2))
        self.assertEqual((meta.create_revision, meta.mod_revision), (first.header.revision, second.header.revision))
        self.assertEqual(meta.response_header.revision, second.header.revision)
        self.assertEqual(self.client.get(self.key("absent")), (None, None))
        gone = self.client.delete(self.key("k"), prev_kv=True, return_response=True)
        self.assertEqual((gone.deleted, gone.prev_kvs[0].value), (1, b"two"))
        self.assertFalse(self.client.delete(self.key("k")))

    def test_bytes(self):
        key, value = b"\x00\xff\xfe", bytes(range(256)) * 100
        self.client.put(key, value)
        self.assertEqual(self.client.get(key)[0], value)
        self.assertTrue(self.client.delete(key))

    def test_ranges(self):
        for name, value in [("b", "2"), ("a", "3"), ("c", "1")]:
            self.client.put(self.key(name), value)

        def names(found):
            return "".join(meta.key.decode()[-1] for _, meta in found)

        self.assertEqual(names(self.client.get_prefix(self.prefix)), "abc")
        self.assertEqual(names(self.client.get_prefix(self.prefix, sort_order="descend", sort_target="key")), "cba")
        self.assertEqual(names(self.client.get_prefix(self.prefix, sort_order="ascend", sort_target="value")), "cba")
        self.assertEqual(names(self.client.get_prefix(self.prefix, sort_order="ascend", sort_target="mod")), "bac")
        self.assertEqual(names(self.client.get_range(self.key("a"), self.key("c"))), "ab")
        self.assertEqual([v for v, _ in self.client.get_prefix(self.prefix, keys_only=True)], [b"", b"", b""])
        self.assertGreaterEqual(len(list(self.client.get_all())), 3)
        self.assertEqual(self.client.delete_prefix(self.prefix).deleted, 3)

    def test_replace(self):
        self.assertTrue(self.client.put_if_not_exists(self.key("k"), "1"))
        self.assertFalse(self.client.put_if_not_exists(self.key("k"), "2"))
        self.assertTrue(self.client.replace(self.key("k"), "1", "3"))
        self.assertFalse(self.client.replace(self.key("k"), "1", "4"))
        self.assertEqual(self.value("k"), b"3")

    def test_transaction(self):
        t = self.client.transactions
        self.client.put(self.key("k"), "1")
        self.client.put(self.key("other"), "1")
        ok, answers = self.client.transaction(
            compare=[t.value(self.key("k")) == "1", t.version(self.key("k")) > 0, t.create(self.key("absent")) == 0,
                     t.mod(self.key("k")) != 0],
            success=[t.put(self.key("k"), "2"), t.get(self.key("k")),
                     t.txn(compare=[t.value(self.key("k")) == "1"], success=[t.delete(self.key("other"))], failure=[])],
            failure=[t.put(self.key("failed"), "")])
        self.assertTrue(ok)
        self.assertEqual(answers[1][0][0], b"2")
        self.assertTrue(answers[2].response_txn.succeeded)
        self.assertIsNone(self.value("other"))
        self.client.delete(self.key("k"))
        ok, answers = self.client.transaction(
            compare=[t.value(self.key("k")) == "1"], success=[], failure=[t.get(self.key("k"))])
        self.assertEqual((ok, answers), (False, [[]]))

    def test_compaction(self):
        first = self.client.put(self.key("k"), "1").header.revision
        last = self.client.put(self.key("k"), "2").header.revision
        self.client.compact(last, physical=True)
        _, cancel = self.client.watch(self.key("k"), start_revision=last)
        cancel()
        events, _ = self.client.watch(self.key("k"), start_revision=first)
        with self.assertRaises(etcd3.exceptions.RevisionCompactedError) as caught:
            next(events)
        self.assertEqual(caught.exception.compacted_revision, last)


class Watches(Base):
    def test_events(self):
        events, cancel = self.client.watch_prefix(self.prefix, prev_kv=True)
        self.client.put(self.key("a"), "1")
        self.client.put(self.key("a"), "2")
        self.client.delete(self.key("a"))
        got = [next(events) for _ in range(3)]
        self.assertEqual([type(e).__name__ for e in got], ["PutEvent", "PutEvent", "DeleteEvent"])
        self.assertEqual([e.value for e in got], [b"1", b"2", b""])
        self.assertEqual([e.prev_value for e in got], [b"", b"1", b"2"])
        self.assertEqual([e.version for e in got], [1, 2, 0])
        cancel()
        self.assertEqual(list(events), [])

    def test_history_and_callbacks(self):
        start = self.client.put(self.key("k"), "1").header.revision
        self.client.put(self.key("k"), "2")
        answers = queue.Queue()
        watch = self.client.add_watch_callback(self.key("k"), answers.put, start_revision=start)
        self.client.put(self.key("k"), "3")
        values = []
        while len(values) < 3:
            values += [e.value for e in answers.get(timeout=PATIENCE).events]
        self.assertEqual(values, [b"1", b"2", b"3"])
        self.client.cancel_watch(watch)

    def test_once(self):
        with self.assertRaises(etcd3.exceptions.WatchTimedOut):
            self.client.watch_once(self.key("k"), timeout=0.1)


class Leases(Base):
    def test_lease(self):
        lease = self.client.lease(100)
        self.client.put(self.key("k"), "1", lease=lease)
        self.assertEqual(lease.granted_ttl, 100)
        self.assertTrue(0 < lease.remaining_ttl <= 100)
        self.assertEqual(list(lease.keys), [self.key("k").encode()])
        self.assertEqual(self.client.get(self.key("k"))[1].lease_id, lease.id)
        self.assertEqual(lease.refresh()[0].TTL, 100)
        lease.revoke()
        self.assertIsNone(self.value("k"))
        self.assertEqual(lease.remaining_ttl, -1)
        self.assertEqual(self.client.lease(50, lease_id=7331).id, 7331)

    def test_expiry(self):
        events, cancel = self.client.watch(self.key("k"))
        self.client.put(self.key("k"), "1", lease=self.client.lease(1))
        self.assertEqual([type(next(events)).__name__ for _ in range(2)], ["PutEvent", "DeleteEvent"])
        cancel()


class Locks(Base):
    def test_lock(self):
        mine, other = self.client.lock(self.prefix, ttl=60), self.client.lock(self.prefix, ttl=60)
        self.assertTrue(mine.acquire())
        self.assertTrue(mine.is_acquired())
        self.assertFalse(other.acquire(timeout=0))
        self.assertEqual(mine.refresh()[0].TTL, 60)
        self.assertTrue(mine.release())
        with other:
            self.assertTrue(other.is_acquired())
        self.assertFalse(other.is_acquired())

    def test_lock_of_the_dead(self):
        self.assertTrue(self.client.lock(self.prefix, ttl=1).acquire())  # and never released
        other, end = self.client.lock(self.prefix, ttl=60), time.monotonic() + PATIENCE
        # Its own waiting does not work with Debian's tenacity.
        while not other.acquire(timeout=0) and time.monotonic() < end:
            time.sleep(0.05)
        self.assertTrue(other.is_acquired())


class Server(Base):
    def test_status_and_members(self):
        status = self.client.status()
        self.assertGreater(status.db_size, 0)
        members = list(self.client.members)
        self.assertEqual(len(members), 1)
        self.assertEqual((members[0].id, members[0].name), (status.leader.id, "default"))
        self.assertIn("http://%s:%s" % (HOST, PORT), members[0].client_urls)


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=1).result
    if result.wasSuccessful() and result.testsRun > 0:
        print("all good")
    sys.exit(not result.wasSuccessful())
