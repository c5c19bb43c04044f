// Many keys in one prefix, which the test has put there: any place of the list is shown
// with few requests, and the tab's memory is bounded.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { browser, figure, open, row, sites, withPage } from './page.mjs'

const { keys } = sites
const memoryMax = 150 // MiB, whatever the number of keys
const places = 60

const name = (i) => 'key-' + String(i).padStart(8, '0')

/** The median, the 99th percentile and the longest of some times in ms. */
function percentiles(times) {
  const sorted = times.toSorted((a, b) => a - b)
  const [p50, p99, max] = [0.5, 0.99, 1].map((p) => Math.round(sorted[Math.ceil(p * sorted.length) - 1]))
  return `p50 ${p50} ms, p99 ${p99} ms, longest ${max} ms`
}

/** MiB of memory that only the page's own process uses, after a collection of its garbage. */
async function memory(page) {
  const session = await page.context().newCDPSession(page)
  await session.send('HeapProfiler.collectGarbage')
  const system = await browser.newBrowserCDPSession()
  const { processInfo } = await system.send('SystemInfo.getProcessInfo')
  const renderers = processInfo.filter((p) => p.type === 'renderer').map((p) => {
    const text = readFileSync(`/proc/${p.id}/smaps_rollup`, 'utf8')
    return ['Private_Clean', 'Private_Dirty'].reduce((sum, f) => sum + Number(new RegExp(`${f}:\\s+(\\d+)`).exec(text)[1]), 0) / 1024
  })
  return Math.max(...renderers)
}

test('the first render on a cold cache', async () => {
  await withPage({}, async (page) => {
    await page.waitForSelector('.key-row[aria-level]')
    const figures = await page.evaluate(() => ({
      rows: performance.now(),
      paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime,
      bytes: performance.getEntriesByType('resource').reduce((sum, r) => sum + r.transferSize, 0),
    }))
    figure(`first paint after ${Math.round(figures.paint)} ms, keys after ${Math.round(figures.rows)} ms at most, ${Math.round(figures.bytes / 1024)} KiB loaded`)
  })
})

/** Scrolls to a part of the list's height, and returns the milliseconds until the rows there are seen. */
const jump = (list, part) =>
  list.evaluate(async (el, part) => {
    const start = performance.now()
    el.scrollTop = part * (el.scrollHeight - el.clientHeight)
    const middle = () => {
      const { left, top, height } = el.getBoundingClientRect()
      return document.elementFromPoint(left + 40, top + height / 2)?.closest('.key-row[aria-level]')
    }
    // The rows of the place before are gone when the list has been drawn again.
    await new Promise(requestAnimationFrame)
    while (!middle()) await new Promise(requestAnimationFrame)
    return { ms: performance.now() - start, key: middle().querySelector('.key').textContent }
  }, part)

test('any place of the list', async () => {
  await withPage({}, async (page) => {
    let requests = 0
    page.on('request', (r) => (requests += r.url().endsWith('/console/api/tree') ? 1 : 0))
    await open(page, 'many/')
    const list = page.locator('.key-list')
    await page.locator('.key-row', { hasText: name(0) }).waitFor()
    const times = []
    let seed = 1
    for (let i = 0; i < places; i++) {
      seed = (seed * 48271) % 2147483647
      const part = seed / 2147483647
      requests = 0
      const { ms, key } = await jump(list, part)
      times.push(ms)
      const off = Math.abs(Number(key.slice(4)) - keys * part)
      assert.ok(off <= 100, `at ${part} of the list is ${key}`)
      assert.ok(requests <= 4, `${requests} requests for one place`)
    }
    figure(`a jump to one of ${places} places of ${keys} keys until its rows are shown: ${percentiles(times)}`)
    const rows = await page.locator('.key-row').count()
    assert.ok(rows < 120, `${rows} rows are in the document`)
    assert.match((await jump(list, 1)).key, /^key-/)
    await row(page, name(keys - 1)).waitFor()
    await list.press('Home')
    await row(page, name(0)).waitFor()
    await list.press('End')
    await page.locator('.key-row.cursor').waitFor()

    await jump(list, 0.6)
    const frames = await list.evaluate(async (el) => {
      const times = []
      for (let i = 0, before = performance.now(); i < 500; i++) {
        el.scrollTop -= 400
        await new Promise(requestAnimationFrame)
        const now = performance.now()
        times.push(now - before)
        before = now
      }
      return times
    })
    figure(`a frame while 7,000 rows are scrolled: ${percentiles(frames)}`)
    const used = await memory(page)
    figure(`memory of the tab with ${keys} keys: ${Math.round(used)} MiB, ${memoryMax} MiB at most`)
    assert.ok(used <= memoryMax, `the tab uses ${used} MiB`)
  })
})
