// The browser, pages in it, and the server's JSON gateway, for the tests.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import assert from 'node:assert/strict'
import { after } from 'node:test'
import { chromium } from 'playwright-core'

/** The servers that the test has started (servers_test.go), and where screenshots are kept. */
export const sites = JSON.parse(process.argv[2])
export const screenshots = process.argv[3]

/** The server of most tests. */
export const { url } = sites
const patience = 120_000 // ms: no bound on what the product does, only against a test that hangs

// Chromium's sandbox cannot be used by root, the user that runs CI.
export const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
})
after(() => browser.close())

let failures = 0

/** Runs a test in a page of its own. What the page reports as an error, and each violation of its
 * content security policy, fails the test; expected lists what it may report. at is the
 * server's URL; init runs in the page before its own scripts. */
export async function withPage(options, test) {
  const { at = url, expected = [], hash = '#/keys', ready = '.shell', init, ...context } = options
  const ctx = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-US', ...context })
  ctx.setDefaultTimeout(patience)
  // A message that something has been done vanishes after this time (toast.tsx), on a busy machine
  // before the test sees it: here it stays.
  await ctx.addInitScript(() => {
    const { setTimeout } = globalThis
    globalThis.setTimeout = (run, ms, ...rest) => (ms === 6000 ? 0 : setTimeout(run, ms, ...rest))
  })
  if (init) await ctx.addInitScript(init)
  const page = await ctx.newPage()
  const faults = []
  // Chromium itself styles text that replaces styled text in an editable element. The policy forbids
  // that, to no harm: the editor replaces the text itself.
  const editing = 'Applying inline style violates'
  const report = (text) => {
    if (![...expected, editing].some((e) => text.includes(e))) faults.push(text)
  }
  page.on('pageerror', (e) => report(`${e.message}\n${e.stack}`))
  page.on('console', (m) => {
    if (m.type() === 'error' || m.type() === 'warning') report(m.text())
  })
  page.on('dialog', (d) => {
    report(`the page opened a dialog: ${d.message()}`)
    void d.dismiss()
  })
  try {
    await page.goto(at + '/console/' + hash)
    await page.waitForSelector(ready)
    await test(page)
    assert.deepEqual(faults, [], 'the page reported errors')
    assert.doesNotMatch(page.url().replace(/^[^#]*/, ''), /^#\/.*\//, 'a key is in the address')
  } catch (e) {
    if (page.url().startsWith(at)) await page.screenshot({ path: join(screenshots, `failed-${++failures}.png`) }).catch(() => {})
    if (faults.length) e.message += '\nThe page reported:\n' + faults.join('\n')
    throw e
  } finally {
    await ctx.close()
  }
}

/** Makes a page ask the server at once for what it asks for again and again: as when the user comes
 * back to its tab. */
export const comeBack = (page) => page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))

export const screenshot = (page, name) => page.screenshot({ path: join(screenshots, name + '.png') })

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** The rules whose outcome depends on colours or on the width of the window. */
export const visual = ['color-contrast', 'link-in-text-block', 'scrollable-region-focusable', 'target-size']

/** Fails when axe-core finds a serious fault; by some of its rules, or by all. */
export async function accessible(page, name, rules) {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe + ';0')
  const found = await page.evaluate(async (runOnly) => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'], ...(runOnly ? { runOnly } : {}) })
    return violations
      .filter((v) => v.impact === 'serious' || v.impact === 'critical')
      .map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' ' + n.any.map((a) => a.message).join('; ')).join('\n   ')}`)
  }, rules)
  assert.deepEqual(found, [], `${name}: faults that axe-core calls serious`)
}

export const b64 = (text) => Buffer.from(text).toString('base64')

/** A request of the JSON gateway, as another client makes it. token is that of a user, at the server's URL. */
export async function v3(path, body, token, at = url) {
  const response = await fetch(`${at}/v3/${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...(token ? { Authorization: token } : {}) },
    body: JSON.stringify(body),
  })
  const answer = await response.json()
  if (!response.ok) throw new Error(`${path}: ${answer.message}`)
  return answer
}

export const put = (key, value, lease = '0', at = url) => v3('kv/put', { key: b64(key), value: b64(value), lease }, undefined, at)

/** The value of a key as another client reads it, or undefined. */
export async function get(key, token, at = url) {
  const { kvs } = await v3('kv/range', { key: b64(key) }, token, at)
  return kvs && Buffer.from(kvs[0].value ?? '', 'base64').toString()
}

/** The row of a key or prefix in the list, by its text. */
export const row = (page, name) => page.locator('.key-row[aria-level]').filter({ has: page.locator(`.key-name .key:text-is(${JSON.stringify(name)})`) })

/** Opens the prefixes of a path one after the other, and then the key. "/" is open already. */
export async function open(page, ...names) {
  for (const name of names) {
    const at = row(page, name)
    await at.waitFor()
    if ((await at.getAttribute('aria-expanded')) !== 'true') await at.locator('.key').click()
  }
}

/** What the editor of the page shows. */
export async function editorText(page) {
  await page.waitForSelector('.editor[data-ready]')
  return page.evaluate(() => [...document.querySelector('.editor').shadowRoot.querySelectorAll('.cm-line')].map((l) => l.textContent).join('\n'))
}

/** Waits until the editor of the page shows a text, or one that matches. */
export async function shows(page, expected) {
  const wanted = expected instanceof RegExp ? { source: expected.source } : { text: expected }
  await page.waitForFunction(({ source, text }) => {
    const editor = document.querySelector('.editor[data-ready]')
    if (!editor) return false
    const shown = [...editor.shadowRoot.querySelectorAll('.cm-line')].map((l) => l.textContent).join('\n')
    return source === undefined ? shown === text : new RegExp(source).test(shown)
  }, wanted)
}

/** Replaces the text of the editor by typing. */
export async function type(page, text) {
  await page.waitForSelector('.editor[data-ready][data-typing]')
  await page.locator('.editor .cm-content').focus()
  await page.keyboard.press('Control+A')
  await page.keyboard.insertText(text)
}

export const figure = (text) => console.log('figure: ' + text)
