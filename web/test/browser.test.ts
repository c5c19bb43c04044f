import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Browser } from '../src/screens/keys/browser.ts'

/** Answers requests for pages of the tree with those of a store that has only "/a", and counts them. */
function serve(): { requests: string[] } {
  const requests: string[] = []
  const b64 = (text: string) => Buffer.from(text).toString('base64')
  globalThis.fetch = (async (_path: string, { body }: { body: string }) => {
    const { prefix } = JSON.parse(body)
    requests.push(prefix)
    const item = prefix === '' ? { kind: 'prefix', key: b64('/'), name: b64('/'), count: 1, ttl: -1 } : { kind: 'key', key: b64('/a'), name: b64('a'), version: 1, create: 1, mod: 1, size: 1, lease: '0', ttl: -1 }
    return { ok: true, json: async () => ({ revision: 1, items: [item], next: '', count: 1, skipped: 0 }) }
  }) as unknown as typeof fetch
  return { requests }
}

test('rows in sight before the list is started load nothing, and the few prefixes at the top are open', async () => {
  const { requests } = serve()
  const browser = new Browser()
  browser.see(0, 20)
  await new Promise((resolve) => setTimeout(resolve))
  assert.deepEqual(requests, [])
  browser.begin()
  browser.see(0, 20)
  browser.begin()
  for (let turns = 0; turns < 1000 && browser.length.value < 2; turns++) await new Promise((resolve) => setTimeout(resolve))
  assert.deepEqual(requests, ['', Buffer.from('/').toString('base64')])
  const row = browser.at(1)
  assert.equal(row?.kind === 'item' && row.item.key, '/a')
})
