// Users, roles and permissions with npm's etcd3. Argument: HOST:PORT of the server, on which it turns authentication on.
'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const {
  Etcd3, EtcdAuthenticationFailedError, EtcdPermissionDeniedError, EtcdRoleExistsError, EtcdRoleNotFoundError, EtcdUserExistsError,
  EtcdUserNotFoundError,
} = require('etcd3');

const hosts = `http://${process.argv[2]}`;
// as runs something as a user.
async function as(username, password, run) {
  const client = new Etcd3({ hosts, auth: { username, password } });
  try {
    await run(client);
  } finally {
    client.close();
  }
}

test('auth', async () => {
  const open = new Etcd3({ hosts });
  const root = await open.user('root').create('secret');
  await open.role('root').create();
  await root.addRole('root');

  const role = await open.role('app').create();
  await assert.rejects(open.role('app').create(), EtcdRoleExistsError);
  await assert.rejects(open.role('absent').permissions(), EtcdRoleNotFoundError);
  await role.grant({ permission: 'Readwrite', range: open.range({ prefix: 'app/' }) });
  await role.grant({ permission: 'Read', key: 'shared' });
  const granted = await role.permissions();
  assert.deepStrictEqual(granted.map(p => [p.permission, p.range.start.toString()]), [['Readwrite', 'app/'], ['Read', 'shared']]);
  assert.strictEqual(granted[0].range.end.toString(), 'app0');

  const user = await open.user('ann').create('pw');
  await assert.rejects(open.user('ann').create('pw'), EtcdUserExistsError);
  await assert.rejects(open.user('nobody').roles(), EtcdUserNotFoundError);
  await user.addRole('app');
  assert.deepStrictEqual((await user.roles()).map(r => r.name), ['app']);
  assert.deepStrictEqual((await open.getUsers()).map(u => u.name).sort(), ['ann', 'root']);
  assert.deepStrictEqual((await open.getRoles()).map(r => r.name).sort(), ['app', 'root']);
  await open.auth.authEnable();
  open.close();

  await as('ann', 'pw', async ann => {
    await ann.put('app/k').value('1');
    assert.strictEqual(await ann.get('app/k').string(), '1');
    assert.strictEqual(await ann.get('shared'), null);
    await assert.rejects(ann.put('shared').value('1').exec(), EtcdPermissionDeniedError);
    await assert.rejects(ann.get('other').exec(), EtcdPermissionDeniedError);
    await assert.rejects(ann.getUsers(), EtcdPermissionDeniedError);
  });
  await as('ann', 'wrong', ann => assert.rejects(ann.get('app/k').exec(), EtcdAuthenticationFailedError));

  await as('root', 'secret', async root => {
    await root.role('app').revoke({ permission: 'Readwrite', range: root.range({ prefix: 'app/' }) });
    await root.user('ann').setPassword('new');
  });
  await as('ann', 'new', ann => assert.rejects(ann.get('app/k').exec(), EtcdPermissionDeniedError));
  await as('root', 'secret', async root => {
    await root.user('ann').removeRole('app');
    await root.user('ann').delete();
    await root.role('app').delete();
    await root.auth.authDisable();
  });
});
