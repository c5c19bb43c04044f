// What the console costs the server while a page shows the screen Live, and while none does.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { figure, sites, withPage } from './page.mjs'

const interval = 60_000 // ms
const perSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** Seconds of processor time that the server has used. */
function used() {
  const fields = readFileSync(`/proc/${sites.pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
  return (Number(fields[11]) + Number(fields[12])) / perSecond
}

async function measure(what) {
  const before = used()
  await new Promise((resolve) => setTimeout(resolve, interval))
  figure(`${what}: ${(((used() - before) / interval) * 1000 * 100).toFixed(2)} % of a processor`)
}

test('the cost of a page', async () => {
  await measure('no page')
  await withPage({ hash: '#/live' }, async (page) => {
    await page.waitForSelector('.chart canvas')
    await measure('a page with Live open')
  })
  await measure('no page, again')
})
