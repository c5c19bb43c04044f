// A server with --console-read-only: the page offers no change, and the server refuses those that
// are made by hand.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { b64, get, open, put, row, screenshot, shows, sites, withPage } from './page.mjs'

const at = sites.readOnly
const changing =
  /^(New key|Edit|Delete|Save|Restore this value|Add a|Replace|Remove|Promote|Make leader|Grant a lease|Revoke|Add|Turn o|Password|Take away|Create)/

test('a read-only console offers and does nothing that changes the store', async () => {
  await put('/config/web', 'first', '0', at)
  await put('/config/web', 'second', '0', at)
  await withPage({ at, expected: ['Failed to load resource', 'WebSocket connection'] }, async (page) => {
    await page.getByText('Read-only', { exact: true }).waitFor()
    const offered = async (screen) => {
      const names = await page.getByRole('button').evaluateAll((all) => all.map((b) => b.ariaLabel || b.title || b.innerText.trim()))
      assert.deepEqual(names.filter((n) => changing.test(n)), [], `offered on ${screen}`)
      assert.equal(await page.locator('.key-row input[type="checkbox"]').count(), 0, `rows are selected on ${screen}`)
    }
    const to = (screen) => page.locator(`.rail a[href="#/${screen}"]`).click()
    await open(page, 'config/', 'web')
    await shows(page, 'second')
    await offered('keys')
    await screenshot(page, 'read-only')
    for (const key of ['n', 'e', 'd', 'x']) await page.keyboard.press(key)
    assert.equal(await page.getByRole('dialog').count(), 0)
    assert.equal(await page.locator('.editor[data-typing]').count(), 0)
    await page.keyboard.press('h')
    await page.locator('.diff-side.left').getByText('first').waitFor()
    await offered('history')
    await page.locator('[data-tab="store"]').click()
    await open(page, 'config/', 'web')
    await offered('the time machine')
    await to('live')
    await page.locator('[data-tab="watch"]').click()
    await page.getByRole('button', { name: 'Watch', exact: true }).click()
    await page.getByText('Waiting for changes.').waitFor() // a watch reads
    await to('cluster')
    await page.locator('tbody tr').waitFor()
    await offered('cluster')
    await to('access')
    for (const part of ['users', 'roles', 'tester', 'leases', 'locks']) {
      await page.locator(`[data-tab="${part}"]`).click()
      await page.waitForSelector('.page h2')
      await offered(part)
    }

    const key = b64('/config/web')
    const requests = [
      ['POST', '/console/api/v2/set', { key, value: key }],
      ['POST', '/console/api/v2/delete', { key }],
      ['POST', '/console/api/move-leader', { member: '1' }],
      ['POST', '/v3/kv/put', { key, value: key }],
      ['POST', '/v3beta/kv/put', { key, value: key }],
      ['POST', '/v3/kv/txn', { success: [{ request_put: { key, value: key } }] }],
      ['POST', '/v3/kv/deleterange', { key }],
      ['POST', '/v3/kv/compaction', { revision: '2' }],
      ['POST', '/v3/lease/grant', { TTL: '60' }],
      ['POST', '/v3/auth/user/add', { name: 'mallory', password: 'x' }],
      ['POST', '/v3/cluster/member/add', { peerURLs: ['http://127.0.0.1:9'] }],
      ['POST', '/v3/maintenance/alarm', { action: 'ACTIVATE', alarm: 'NOSPACE' }],
      ['PUT', '/v2/keys/config/web', {}],
      ['DELETE', '/v2/keys/config/web', {}],
    ]
    // With the header of the console's scripts, and as a script in the page that leaves it out.
    for (const headers of [{ 'X-Cairn-Console': '1' }, {}]) {
      const passed = await page.evaluate(
        async ({ requests, headers }) => {
          const passed = []
          for (const [method, path, body] of requests) {
            const r = await fetch(path, { method, headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body) })
            if (r.status !== 403) passed.push(`${method} ${path}: ${r.status}`)
          }
          return passed
        },
        { requests, headers },
      )
      assert.deepEqual(passed, [], JSON.stringify(headers))
    }
    const socket = await page.evaluate(
      (key) =>
        new Promise((resolve) => {
          const s = new WebSocket(`ws://${location.host}/v3/kv/put`)
          s.onopen = () => resolve('open')
          s.onerror = () => resolve('refused')
        }),
      key,
    )
    assert.equal(socket, 'refused')
  })
  // Another client writes as before: the flag is about the console only.
  assert.equal(await get('/config/web', undefined, at), 'second')
  await put('/config/web', 'third', '0', at)
})
