// Keys, transactions, watches, leases, locks and elections with npm's etcd3. Arguments: HOST:PORT of the server; for mutual
// TLS also the files of the authority, the client's certificate and its key.
'use strict';

const assert = require('node:assert');
const { once } = require('node:events');
const { readFileSync } = require('node:fs');
const { after, test } = require('node:test');
const { Etcd3, EtcdLockFailedError, EtcdLeaseInvalidError } = require('etcd3');

const [, , address, ca, cert, key] = process.argv;
const secured = ca && { rootCertificate: readFileSync(ca), certChain: readFileSync(cert), privateKey: readFileSync(key) };
const client = new Etcd3(secured ? { hosts: `https://${address}`, credentials: secured } : { hosts: `http://${address}` });
after(() => client.close());

// below gives a test a prefix of its own.
const below = (name, run) => test(name, () => run(client.namespace(`/${name}/`)));

below('keys', async ns => {
  await ns.put('a').value('1');
  await ns.put('b').value('two ü€𝄞');
  const replaced = await ns.put('a').value('2').getPrevious();
  assert.strictEqual(replaced.value.toString(), '1');
  assert.strictEqual(await ns.get('a').string(), '2');
  assert.strictEqual(await ns.get('a').number(), 2);
  assert.strictEqual(await ns.get('absent'), null);
  assert.strictEqual(await ns.get('a').exists(), true);
  assert.deepStrictEqual(await ns.getAll().strings(), { a: '2', b: 'two ü€𝄞' });
  assert.deepStrictEqual(await ns.getAll().sort('Key', 'Descend').limit(1).keys(), ['b']);
  assert.strictEqual(await ns.getAll().prefix('a').count(), 1);
  const answer = await ns.get('a').exec();
  const [kv] = answer.kvs;
  assert.strictEqual(kv.version, '2');
  assert.strictEqual(kv.mod_revision, answer.header.revision);
  assert.strictEqual(await ns.get('a').revision(kv.create_revision).string(), '1');
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  await ns.put(bytes).value(bytes);
  assert.deepStrictEqual(await ns.get(bytes).buffer(), bytes);
  const gone = await ns.delete().prefix('a').getPrevious();
  assert.deepStrictEqual(gone.map(k => k.value.toString()), ['2']);
  assert.strictEqual((await ns.delete().all()).deleted, '2');
});

below('transactions', async ns => {
  await ns.put('k').value('1');
  const taken = await ns.if('k', 'Value', '==', '1').and('absent', 'Create', '==', 0)
    .then(ns.put('k').value('2'), ns.get('k')).else(ns.delete().all()).commit();
  assert.strictEqual(taken.succeeded, true);
  assert.strictEqual(taken.responses[1].response_range.kvs[0].value.toString(), '2');
  const other = await ns.if('k', 'Version', '>', 5).then().else(ns.get('k')).commit();
  assert.strictEqual(other.succeeded, false);
  assert.strictEqual(other.responses[0].response_range.count, '1');
});

below('stm', async ns => {
  await ns.put('sum').value('0');
  const add = () => ns.stm({ retries: 100 }).transact(async tx => {
    const sum = await tx.get('sum').number();
    await tx.put('sum').value(sum + 1);
  });
  await Promise.all(Array.from({ length: 10 }, add));
  assert.strictEqual(await ns.get('sum').number(), 10);
});

below('watches', async ns => {
  const watcher = await ns.watch().prefix('w/').withPreviousKV().create();
  const puts = once(watcher, 'put');
  await ns.put('w/1').value('one');
  const [put] = await puts;
  assert.strictEqual(put.value.toString(), 'one');
  const deletes = once(watcher, 'delete');
  await ns.delete().key('w/1');
  const [deleted, before] = await deletes;
  assert.strictEqual(deleted.version, '0');
  assert.strictEqual(before.value.toString(), 'one');
  await watcher.cancel();

  const past = await ns.watch().key('w/1').startRevision(put.mod_revision).only('delete').create();
  const [again] = await once(past, 'delete');
  assert.strictEqual(again.mod_revision, deleted.mod_revision);
  await past.cancel();
});

below('leases', async ns => {
  const lease = ns.lease(100);
  await lease.put('k').value('1');
  const id = await lease.grant();
  assert.strictEqual((await ns.get('k').exec()).kvs[0].lease, id);
  const left = await ns.leaseClient.leaseTimeToLive({ ID: id, keys: true });
  assert.strictEqual(left.grantedTTL, '100');
  assert.deepStrictEqual(left.keys.map(String), ['/leases/k']);
  assert.strictEqual((await lease.keepaliveOnce()).TTL, '100');
  await lease.revoke();
  assert.strictEqual(await ns.get('k'), null);
});

below('expiry', async ns => {
  const watcher = await ns.watch().key('k').create();
  const ended = once(watcher, 'delete');
  const lease = ns.lease(1, { autoKeepAlive: false });
  await lease.put('k').value('1');
  await ended;
  await assert.rejects(lease.keepaliveOnce(), EtcdLeaseInvalidError);
  await watcher.cancel();
});

below('locks', async ns => {
  const mine = ns.lock('l').ttl(60);
  await mine.acquire();
  await assert.rejects(ns.lock('l').acquire(), EtcdLockFailedError);
  await mine.release();
  assert.strictEqual(await ns.lock('l').do(() => 'done'), 'done');
});

below('elections', async ns => {
  const election = ns.election('e', 60);
  const first = election.campaign('first');
  await once(first, 'elected');
  assert.strictEqual(await election.leader(), 'first');
  const observer = await election.observe();
  assert.strictEqual(observer.leader(), 'first');

  const second = election.campaign('second');
  const won = once(second, 'elected');
  await second.getCampaignKey();
  const proclaimed = once(observer, 'change');
  await first.proclaim('still first');
  assert.deepStrictEqual(await proclaimed, ['still first']);
  const changed = new Promise(done => observer.on('change', value => value === 'second' && done()));
  await first.resign();
  await won;
  await changed;
  assert.strictEqual(await election.leader(), 'second');
  await second.resign();
  await observer.cancel();
});

test('maintenance and members', async () => {
  const status = await client.maintenance.status();
  assert.ok(Number(status.dbSize) > 0);
  const { members } = await client.cluster.memberList({});
  assert.deepStrictEqual(members.map(m => m.ID), [status.leader]);
});
