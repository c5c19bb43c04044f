// Reads, writes, compares, deletes and watches with node-etcd. Arguments: HOST:PORT of the server; for mutual TLS also
// the files of the authority, the client's certificate and its key.
'use strict'

const assert = require('assert')
const { test } = require('node:test')
const { readFileSync } = require('node:fs')
const Etcd = require('node-etcd')

const [, , address, ca, cert, key] = process.argv
const secured = ca && { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) }
const etcd = secured ? new Etcd([`https://${address}`], secured) : new Etcd([`http://${address}`])

// call makes a promise of a method that takes a callback(err, body, headers).
function call (method, ...args) {
  return new Promise((resolve, reject) => {
    etcd[method](...args, (err, body, headers) => err ? reject(err) : resolve({ body, headers }))
  })
}

async function refused (code, method, ...args) {
  const err = await call(method, ...args).then(() => assert.fail(`${method} ${args} was not refused`), err => err)
  assert.strictEqual(err.errorCode, code, `${method} ${args}: ${err}`)
  return err
}

const tests = {
  async 'set, get, delete' () {
    const first = await call('set', 'a/k', 'one')
    assert.strictEqual(first.body.action, 'set')
    assert.strictEqual(first.body.node.key, '/a/k')
    assert.strictEqual(Number(first.headers['x-etcd-index']), first.body.node.modifiedIndex)
    const second = await call('set', 'a/k', 'two ü&=+')
    assert.strictEqual(second.body.prevNode.value, 'one')
    assert.strictEqual(second.body.node.modifiedIndex, first.body.node.modifiedIndex + 1)
    assert.strictEqual((await call('get', 'a/k')).body.node.value, 'two ü&=+')
    assert.strictEqual((await call('del', 'a/k')).body.action, 'delete')
    const err = await refused(100, 'get', 'a/k')
    assert.strictEqual(err.error.cause, '/a/k')
  },

  async 'compare' () {
    await refused(101, 'compareAndSwap', 'c/k', 'x', 'y').catch(() => refused(100, 'compareAndSwap', 'c/k', 'x', 'y'))
    await call('set', 'c/k', 'one')
    assert.strictEqual((await call('compareAndSwap', 'c/k', 'two', 'one')).body.action, 'compareAndSwap')
    await refused(101, 'compareAndSwap', 'c/k', 'three', 'one')
    await refused(101, 'compareAndDelete', 'c/k', 'one')
    assert.strictEqual((await call('compareAndDelete', 'c/k', 'two')).body.action, 'compareAndDelete')
    await call('set', 'c/once', '1', { prevExist: false })
    await refused(105, 'set', 'c/once', '2', { prevExist: false })
  },

  async 'directories' () {
    await call('mkdir', 'd')
    await refused(102, 'set', 'd', 'x')
    await refused(105, 'mkdir', 'd', { prevExist: false })
    for (const name of ['b', 'a', 'sub/y']) await call('set', `d/${name}`, name)
    const list = (await call('get', 'd', { recursive: true, sorted: true })).body.node
    assert.deepStrictEqual(list.nodes.map(n => n.key), ['/d/a', '/d/b', '/d/sub'])
    assert.strictEqual(list.nodes[2].nodes[0].value, 'sub/y')
    const jobs = []
    for (let i = 0; i < 3; i++) jobs.push((await call('create', 'queue', `job${i}`)).body.node.key)
    assert.deepStrictEqual(jobs, [...jobs].sort())
    await refused(108, 'rmdir', 'd')
    await call('rmdir', 'd', { recursive: true })
  },

  async 'TTL' () {
    const set = await call('set', 't/k', 'v', { ttl: 100 })
    assert.ok(set.body.node.ttl === 100 && set.body.node.expiration)
    const refresh = await call('set', 't/k', null, { ttl: 1, refresh: true, prevExist: true })
    assert.strictEqual(refresh.body.node.value, 'v')
    const received = await call('watchIndex', 't/k', refresh.body.node.modifiedIndex + 1)
    assert.strictEqual(received.body.action, 'expire')
  },

  async 'watcher' () {
    const index = (await call('set', 'w/k', 'begin')).body.node.modifiedIndex
    const watcher = etcd.watcher('w', index + 1, { recursive: true })
    const received = new Promise((resolve, reject) => {
      const events = []
      watcher.on('error', reject)
      watcher.on('change', event => {
        events.push(`${event.action} ${event.node.key} ${event.node.value}`)
        if (events.length === 4) resolve(events)
      })
    })
    await call('set', 'w/k', '1')
    await call('set', 'w/x', '2')
    await call('del', 'w/x')
    await call('set', 'w/k', '3')
    assert.deepStrictEqual(await received, ['set /w/k 1', 'set /w/x 2', 'delete /w/x undefined', 'set /w/k 3'])
    watcher.stop()
  },

  async 'without waiting' () { // the client's synchronous calls
    assert.strictEqual(etcd.setSync('s/k', 'v').body.action, 'set')
    assert.strictEqual(etcd.getSync('s/k').body.node.value, 'v')
    assert.strictEqual(etcd.getSync('s/absent').err.errorCode, 100)
    assert.strictEqual(etcd.delSync('s/k').body.action, 'delete')
  },

  async 'statistics' () {
    assert.strictEqual((await call('selfStats')).body.state, 'StateLeader')
    assert.ok((await call('leaderStats')).body.leader)
    assert.match(JSON.stringify((await call('version')).body), /etcdserver/)
  }
}

for (const name of Object.keys(tests)) test(name, tests[name])
