"""Reads, writes, compares and deletes keys and directories with python-etcd. Argument: HOST:PORT of the server."""

import sys
import unittest

import etcd

HOST, PORT = sys.argv.pop().split(":")


class Keys(unittest.TestCase):
    """Each test works below a directory of its own."""

    def setUp(self):
        self.client = etcd.Client(host=HOST, port=int(PORT), allow_reconnect=False)
        self.dir = "/" + self._testMethodName

    def key(self, name):
        return self.dir + "/" + name

    def test_write_and_read(self):
        first = self.client.write(self.key("k"), "one")
        self.assertEqual((first.action, first.key, first.value, first.dir), ("set", self.key("k"), "one", False))
        self.assertTrue(first.newKey)
        self.assertEqual(first.createdIndex, first.modifiedIndex)
        self.assertEqual(first.etcd_index, first.modifiedIndex)
        second = self.client.set(self.key("k"), "two")
        self.assertEqual(second._prev_node.value, "one")
        self.assertEqual(second.modifiedIndex, first.modifiedIndex + 1)
        self.assertFalse(second.newKey)
        read = self.client.read(self.key("k"))
        self.assertEqual((read.action, read.value, read.modifiedIndex), ("get", "two", second.modifiedIndex))
        self.assertEqual(self.client.get(self.key("k")).value, "two")
        self.assertEqual(self.client.read(self.key("k"), quorum=True).value, "two")
        self.assertIn(self.key("k"), self.client)
        self.assertNotIn(self.key("absent"), self.client)

    def test_text(self):
        for name, value in [("empty", ""), ("umlaut-ä/鍵", "ü€𝄞"), ("blank key", "a&b=c%2F+d"), ("lines", "a\nb\r\n")]:
            self.client.write(self.key(name), value)
            self.assertEqual(self.client.read(self.key(name)).value, value)

    def test_missing(self):
        with self.assertRaises(etcd.EtcdKeyNotFound) as caught:
            self.client.read(self.key("absent"))
        self.assertEqual(caught.exception.payload["errorCode"], 100)
        self.assertEqual(caught.exception.payload["cause"], self.dir)
        with self.assertRaises(etcd.EtcdKeyNotFound):
            self.client.delete(self.key("absent"))
        with self.assertRaises(etcd.EtcdKeyNotFound):
            self.client.write(self.key("absent"), "v", prevExist=True)

    def test_create_only(self):
        self.client.write(self.key("k"), "one", prevExist=False)
        with self.assertRaises(etcd.EtcdAlreadyExist):
            self.client.write(self.key("k"), "two", prevExist=False)
        updated = self.client.write(self.key("k"), "three", prevExist=True)
        self.assertEqual((updated.action, updated.value), ("update", "three"))

    def test_test_and_set(self):
        self.client.write(self.key("k"), "one")
        swapped = self.client.test_and_set(self.key("k"), "two", "one")
        self.assertEqual((swapped.action, swapped.value, swapped._prev_node.value), ("compareAndSwap", "two", "one"))
        with self.assertRaises(etcd.EtcdCompareFailed) as caught:
            self.client.test_and_set(self.key("k"), "three", "one")
        self.assertEqual(caught.exception.payload["errorCode"], 101)
        self.assertEqual(self.client.read(self.key("k")).value, "two")
        index = self.client.read(self.key("k")).modifiedIndex
        with self.assertRaises(etcd.EtcdCompareFailed):
            self.client.write(self.key("k"), "three", prevIndex=index - 1)
        self.client.write(self.key("k"), "three", prevIndex=index)
        self.assertEqual(self.client.read(self.key("k")).value, "three")

    def test_update_object(self):
        self.client.write(self.key("k"), "one")
        mine, other = self.client.read(self.key("k")), self.client.read(self.key("k"))
        mine.value = "mine"
        self.client.update(mine)
        other.value = "other"
        with self.assertRaises(etcd.EtcdCompareFailed):
            self.client.update(other)
        self.assertEqual(self.client.read(self.key("k")).value, "mine")

    def test_delete(self):
        self.client.write(self.key("k"), "one")
        gone = self.client.delete(self.key("k"))
        self.assertEqual((gone.action, gone._prev_node.value), ("delete", "one"))
        self.client.write(self.key("k"), "two")
        with self.assertRaises(etcd.EtcdCompareFailed):
            self.client.delete(self.key("k"), prevValue="other")
        popped = self.client.pop(self.key("k"))
        self.assertEqual(popped.value, "two")
        self.assertNotIn(self.key("k"), self.client)

    def test_directories(self):
        made = self.client.write(self.key("d"), None, dir=True)
        self.assertTrue(made.dir)
        with self.assertRaises(etcd.EtcdNotFile):
            self.client.write(self.key("d"), "v")
        self.client.write(self.key("f"), "v")
        with self.assertRaises(etcd.EtcdNotDir):
            self.client.write(self.key("f") + "/below", "v")
        with self.assertRaises(etcd.EtcdNotFile):
            self.client.delete(self.key("d"))
        self.client.write(self.key("d/k"), "v")
        with self.assertRaises(etcd.EtcdDirNotEmpty):
            self.client.delete(self.key("d"), dir=True)
        self.client.delete(self.key("d"), recursive=True)
        self.assertNotIn(self.key("d"), self.client)
        with self.assertRaises(etcd.EtcdRootReadOnly):
            self.client.write("/", "v")

    def test_listing(self):
        for name in ("b", "a", "sub/y", "sub/x", "_hidden"):
            self.client.write(self.key(name), name)
        top = self.client.read(self.dir, sorted=True)
        self.assertTrue(top.dir)
        self.assertEqual([(c.key, c.dir) for c in top.children],
                         [(self.key("a"), False), (self.key("b"), False), (self.key("sub"), True)])
        everything = self.client.read(self.dir, recursive=True, sorted=True)
        self.assertEqual([c.key for c in everything.leaves],
                         [self.key("a"), self.key("b"), self.key("sub/x"), self.key("sub/y")])
        self.assertEqual([c.value for c in everything.leaves], ["a", "b", "sub/x", "sub/y"])
        below = list(everything.get_subtree())
        self.assertEqual(len(below), 6)

    def test_append(self):
        names = [self.client.write(self.dir, value, append=True).key for value in ("one", "two", "three")]
        self.assertEqual(names, sorted(names))
        queue = self.client.read(self.dir, recursive=True, sorted=True)
        self.assertEqual([c.value for c in queue.children], ["one", "two", "three"])

    def test_server(self):
        self.assertRegex(self.client.version, r"^\d+\.\d+\.\d+$")


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=1).result
    if result.wasSuccessful() and result.testsRun > 0:
        print("all good")
    sys.exit(not result.wasSuccessful())
