"""Takes locks and elects leaders with python-etcd, several clients at a time. Argument: HOST:PORT of the server."""

import sys
import threading
import unittest

import etcd

HOST, PORT = sys.argv.pop().split(":")


def client():
    return etcd.Client(host=HOST, port=int(PORT), allow_reconnect=False, read_timeout=60)


class Candidate:
    """Leads while its name is in a key that only one can create, and that goes unless its owner refreshes it: what programs on etcd
    do to elect a leader."""

    def __init__(self, key, name, ttl):
        self.client, self.key, self.name, self.ttl = client(), key, name, ttl

    def stand(self):
        try:
            self.client.write(self.key, self.name, ttl=self.ttl, prevExist=False)
            return True
        except etcd.EtcdAlreadyExist:
            return False

    def renew(self, ttl=None):
        try:
            self.client.write(self.key, self.name, ttl=ttl or self.ttl, prevValue=self.name)
            return True
        except (etcd.EtcdKeyNotFound, etcd.EtcdCompareFailed):
            return False

    def resign(self):
        self.client.delete(self.key, prevValue=self.name)


class Locks(unittest.TestCase):
    def test_one_holder(self):
        one, two = etcd.Lock(client(), "held"), etcd.Lock(client(), "held")
        self.assertTrue(one.acquire(blocking=False, lock_ttl=100))
        self.assertTrue(one.is_acquired)
        self.assertFalse(two.acquire(blocking=False, lock_ttl=100))
        self.assertFalse(two.is_acquired)
        self.assertTrue(one.acquire(blocking=False, lock_ttl=100))  # renews it
        one.release()
        self.assertTrue(two.acquire(blocking=False, lock_ttl=100))
        two.release()

    def test_waits_in_turn(self):
        """Every holder counts without a lock of its own: with two at a time counts would be lost, or an order would be."""
        count, order, errors = [0], [], []
        first = etcd.Lock(client(), "turns")
        first.acquire(lock_ttl=100)
        waiting = [threading.Semaphore(0) for _ in range(5)]

        def wait(i):
            try:
                lock = etcd.Lock(client(), "turns")
                lock.acquire(blocking=False, lock_ttl=100)  # takes its place in the queue
                waiting[i].release()
                lock.acquire(blocking=True, lock_ttl=100)
                before = count[0]
                order.append(i)
                client().read("/")
                count[0] = before + 1
                lock.release()
            except Exception as e:  # a thread's own would be lost
                errors.append(e)
                waiting[i].release()

        threads = []
        for i in range(len(waiting)):
            threads.append(threading.Thread(target=wait, args=(i,)))
            threads[i].start()
            waiting[i].acquire()
        first.release()
        for thread in threads:
            thread.join()
        self.assertEqual((errors, count[0], order), ([], 5, [0, 1, 2, 3, 4]))

    def test_holder_that_dies(self):
        dead, heir = etcd.Lock(client(), "inherited"), etcd.Lock(client(), "inherited")
        dead.acquire(lock_ttl=1)
        self.assertTrue(heir.acquire(blocking=True, lock_ttl=100))  # it waits until the other's time is up
        self.assertFalse(dead.is_acquired)
        with self.assertRaises(etcd.EtcdLockExpired):
            dead._acquired(blocking=False)
        heir.release()

    def test_context(self):
        with etcd.Lock(client(), "context") as lock:
            self.assertTrue(lock.is_acquired)
            self.assertFalse(etcd.Lock(client(), "context").acquire(blocking=False, lock_ttl=100))
        self.assertFalse(lock.is_acquired)


class Elections(unittest.TestCase):
    def test_one_leader(self):
        candidates = [Candidate("/election/one", "c%d" % i, 100) for i in range(8)]
        won = []
        threads = [threading.Thread(target=lambda c=c: won.append(c.stand())) for c in candidates]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(won.count(True), 1)

    def test_leader_that_resigns(self):
        leader, heir = Candidate("/election/resign", "a", 100), Candidate("/election/resign", "b", 100)
        self.assertTrue(leader.stand())
        self.assertFalse(heir.stand())
        self.assertTrue(leader.renew())
        index = heir.client.read(heir.key).modifiedIndex
        leader.resign()
        told = heir.client.read(heir.key, wait=True, waitIndex=index + 1)
        self.assertEqual((told.action, told._prev_node.value), ("compareAndDelete", "a"))
        self.assertTrue(heir.stand())
        self.assertFalse(leader.renew())
        with self.assertRaises(etcd.EtcdCompareFailed):
            leader.resign()

    def test_leader_that_dies(self):
        leader, heir = Candidate("/election/die", "a", 100), Candidate("/election/die", "b", 100)
        self.assertTrue(leader.stand())
        self.assertTrue(leader.renew(ttl=1))
        index = heir.client.read(heir.key).modifiedIndex
        told = heir.client.read(heir.key, wait=True, waitIndex=index + 1)
        self.assertEqual((told.action, told._prev_node.value), ("expire", "a"))
        self.assertTrue(heir.stand())
        self.assertEqual(heir.client.read(heir.key).value, "b")

    def test_eternal_watch(self):
        seen = []
        watcher, writer = client(), client()
        start = writer.write("/eternal/k", "0").modifiedIndex

        def watch():
            for event in watcher.eternal_watch("/eternal", index=start, recursive=True):
                seen.append(event.value)
                if event.value == "end":
                    return

        thread = threading.Thread(target=watch)
        thread.start()
        for value in ("1", "2", "end"):
            writer.write("/eternal/k", value)
        thread.join()
        self.assertEqual(seen, ["0", "1", "2", "end"])


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=1).result
    if result.wasSuccessful() and result.testsRun > 0:
        print("all good")
    sys.exit(not result.wasSuccessful())
