// The screen Live.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { b64, figure, put, screenshot, v3, withPage } from './page.mjs'

test('a watch streams, pauses and filters', async () => {
  await withPage({ hash: '#/live' }, async (page) => {
    await page.locator('[data-tab="watch"]').click()
    await page.locator('input[name="watch-prefix"]').fill('/watched/')
    await page.getByRole('button', { name: 'Watch', exact: true }).click()
    await page.getByText('Waiting for changes.').waitFor()
    await page.getByRole('button', { name: 'Stop' }).waitFor()
    // The watch exists when its first event is there; puts before that are not seen.
    const events = page.locator('.event-row')
    let first = 0
    while ((await events.count()) === 0) {
      await put('/watched/first', String(first++))
      await page.evaluate(() => new Promise(requestAnimationFrame))
    }
    await put('/other/key', 'not seen')
    await put('/watched/a', 'apple')
    await put('/watched/b', '<b>pear</b>')
    await v3('kv/deleterange', { key: b64('/watched/a') })
    await events.filter({ hasText: 'delete' }).waitFor()
    await events.filter({ hasText: '<b>pear</b>' }).waitFor()
    assert.equal(await events.filter({ hasText: 'not seen' }).count(), 0)
    await page.getByText(/events\/s/).waitFor()
    await screenshot(page, 'live-events')

    await page.getByRole('button', { name: 'Pause' }).click()
    await put('/watched/c', 'later')
    await page.getByText('Paused; 1 event waits').waitFor()
    assert.equal(await events.filter({ hasText: 'later' }).count(), 0)
    await page.getByRole('button', { name: 'Go on' }).click()
    await events.filter({ hasText: 'later' }).waitFor()
    await page.locator('input[name="filter"]').fill('pear')
    await events.filter({ hasText: 'later' }).waitFor({ state: 'detached' })
    assert.equal(await events.count(), 1)
    await page.getByRole('button', { name: 'Stop' }).click()
  })
})

test('a thousand events a second are shown, and the page still responds', async () => {
  const events = 5000
  const perTxn = 50
  await withPage({ hash: '#/live' }, async (page) => {
    await page.locator('[data-tab="watch"]').click()
    await page.locator('input[name="watch-prefix"]').fill('/many-events/')
    await page.getByRole('button', { name: 'Watch', exact: true }).click()
    await page.getByText('Waiting for changes.').waitFor()
    await page.waitForFunction(() => /events\/s/.test(document.querySelector('.toolbar').innerText))
    await page.locator('input[name="filter"]').fill('value')
    // Counts how often the list is drawn.
    await page.evaluate(() => {
      globalThis.drawn = 0
      new MutationObserver(() => globalThis.drawn++).observe(document.querySelector('.toolbar [role="status"]'), { subtree: true, characterData: true, childList: true })
    })
    const start = performance.now()
    for (let i = 0; i < events; i += perTxn) {
      const success = Array.from({ length: perTxn }, (_, j) => ({ request_put: { key: b64(`/many-events/${i + j}`), value: b64(`value ${i + j}`) } }))
      await v3('kv/txn', { success })
    }
    await page.locator('.event-row', { hasText: `value ${events - 1}` }).waitFor()
    const seconds = (performance.now() - start) / 1000
    await page.getByText(/5,000 events/).waitFor()
    const drawn = await page.evaluate(() => globalThis.drawn)
    figure(`${events} events in ${seconds.toFixed(1)} s: drawn ${drawn} times`)
    assert.ok(drawn <= 20 + 20 * seconds, `the list was drawn ${drawn} times in ${seconds} s`)
    await page.locator('input[name="filter"]').fill(`value ${events / 2}`)
    await page.locator('.event-row', { hasText: `value ${events / 2}` }).waitFor()
    await page.getByRole('button', { name: 'Stop' }).click()
  })
})

test('charts show the last hour', async () => {
  await withPage({ hash: '#/live' }, async (page) => {
    await page.waitForSelector('.chart canvas')
    const titles = await page.locator('.chart figcaption > b').allInnerTexts()
    for (const title of ['Requests per second', 'Latency of requests', 'Duration of an fsync', 'Size of the database', 'Watchers', 'Leases']) {
      assert.ok(titles.includes(title), title)
    }
    assert.match(await page.locator('.chart', { hasText: 'Size of the database' }).innerText(), /allocated [\d.]+ (B|KiB|MiB)/)
  })
})
