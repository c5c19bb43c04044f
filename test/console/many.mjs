// Many keys in one prefix, which the test has put there: they scroll, and the tab's memory is bounded.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { browser, figure, open, sites, withPage } from './page.mjs'

const { keys } = sites
const memoryMax = keys > 100_000 ? 300 : 150 // MiB

const name = (i) => 'key-' + String(i).padStart(8, '0')

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

test('scroll', async () => {
  await withPage({}, async (page) => {
    await open(page, 'many/')
    const list = page.locator('.key-list')
    const started = performance.now()
    // Each time the end is reached, what follows is loaded, up to the last key.
    await list.evaluate(async (el, last) => {
      const seen = () => [...el.querySelectorAll('.key')].some((k) => k.textContent === last)
      await new Promise((resolve) => {
        const step = () => {
          el.scrollTop = el.scrollHeight
          if (seen()) resolve()
          else requestAnimationFrame(step)
        }
        step()
      })
    }, name(keys - 1))
    figure(`${keys} keys loaded and scrolled in ${((performance.now() - started) / 1000).toFixed(1)} s`)
    const rows = await page.locator('.key-row').count()
    assert.ok(rows < 120, `${rows} rows are in the document`)
    // Any place is there at once.
    const height = await list.evaluate((el) => el.scrollHeight)
    for (const part of [0.5, 0.1, 0.9]) {
      await list.evaluate((el, top) => (el.scrollTop = top), height * part)
      await page.waitForFunction((n) => [...document.querySelectorAll('.key-name .key')].some((k) => Math.abs(Number(k.textContent.slice(4)) - n) < 60), keys * part)
    }
    const frames = await list.evaluate(async (el) => {
      const times = []
      for (let i = 0, before = performance.now(); i < 120; i++) {
        el.scrollTop -= 400
        await new Promise(requestAnimationFrame)
        const now = performance.now()
        times.push(now - before)
        before = now
      }
      return times.sort((a, b) => a - b)
    })
    figure(`frames while scrolling: half within ${Math.round(frames[60])} ms, the longest ${Math.round(frames.at(-1))} ms`)
    const used = await memory(page)
    figure(`memory of the tab with ${keys} keys: ${Math.round(used)} MiB`)
    assert.ok(used <= memoryMax, `the tab uses ${used} MiB`)
  })
})
