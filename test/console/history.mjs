// The screen History.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { b64, get, open, put, row, shows, v3, withPage } from './page.mjs'

test('any two revisions are compared, and one is restored', async () => {
  for (const v of ['one', 'two', 'three']) await put('/past/key', v)
  await v3('kv/deleterange', { key: b64('/past/key') })
  await put('/past/key', 'five')
  await withPage({ hash: '#/history' }, async (page) => {
    await page.locator('input[name="key"]').fill('/past/key')
    await page.getByRole('button', { name: 'Show' }).click()
    await page.waitForSelector('.mark')
    const marks = page.locator('.mark')
    assert.equal(await marks.count(), 5)
    assert.match(await marks.nth(1).innerText(), /delete/)
    await page.locator('.diff-side.right').getByText('five').waitFor()
    await marks.nth(2).click()
    await page.locator('.diff-side.right').getByText('three').waitFor()
    await page.locator('.diff-side.left').getByText('two').waitFor()
    await page.locator('select[name="from"]').selectOption('4')
    await page.locator('.diff-side.left').getByText('one').waitFor()

    await page.getByRole('button', { name: 'Restore this value' }).click()
    const box = page.getByRole('dialog', { name: 'Restore a value' })
    await box.locator('.diff-side.left').getByText('five').waitFor()
    // The key changes while the dialog is open: the first attempt is refused.
    await put('/past/key', 'six')
    await box.getByRole('button', { name: 'Restore this value' }).click()
    await box.getByText('The key was changed meanwhile').waitFor()
    await box.locator('.diff-side.left').getByText('six').waitFor()
    assert.equal(await get('/past/key'), 'six')
    await box.getByRole('button', { name: 'Restore this value' }).click()
    await page.getByText('Restored as revision').waitFor()
    assert.equal(await get('/past/key'), 'three')
    await page.locator('.diff-side.right').getByText('three').waitFor()
  })
})

test('the whole store as of a past revision', async () => {
  await put('/past/gone', 'was here')
  const { header } = await v3('kv/range', { key: b64('/past/gone') })
  await v3('kv/deleterange', { key: b64('/past/gone') })
  await withPage({ hash: '#/history' }, async (page) => {
    await page.locator('[data-tab="store"]').click()
    await open(page, 'past/')
    await row(page, 'key').waitFor()
    assert.equal(await row(page, 'gone').count(), 0)
    await page.locator('input[name="revision-number"]').fill(header.revision)
    await page.locator('input[name="revision-number"]').press('Enter')
    await open(page, 'gone')
    await shows(page, 'was here')
    await page.getByRole('button', { name: 'Restore this value' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Restore this value' }).click()
    await page.getByText('Restored as revision').waitFor()
  })
  assert.equal(await get('/past/gone'), 'was here')
})

test('rows of the time machine stay until others have been loaded', async () => {
  await put('/stays/first', 'x')
  const { header } = await v3('kv/range', { key: b64('/stays/first') })
  await put('/stays/second', 'x')
  await withPage({ hash: '#/history' }, async (page) => {
    // Notes each row that is not loaded and was before.
    await page.evaluate(() => {
      globalThis.vanished = 0
      const seen = () => {
        const rows = [...document.querySelectorAll('#past .list-row[aria-level]')]
        if (rows.some((r) => r.matches('.key-row'))) globalThis.loaded = true
        if (globalThis.loaded && !rows.some((r) => r.matches('.key-row'))) globalThis.vanished++
      }
      new MutationObserver(seen).observe(document.body, { childList: true, subtree: true })
    })
    await page.locator('[data-tab="store"]').click()
    await open(page, 'stays/')
    await row(page, 'second').waitFor()
    let release
    const held = new Promise((resolve) => (release = resolve))
    await page.route('**/console/api/tree', async (route) => {
      await held
      await route.continue()
    })
    const asked = page.waitForRequest('**/console/api/tree')
    await page.locator('input[name="revision-number"]').fill(header.revision)
    await page.locator('input[name="revision-number"]').press('Enter')
    await asked
    assert.equal(await row(page, 'second').count(), 1, 'the rows are there while others are loaded')
    release()
    await row(page, 'second').waitFor({ state: 'detached' })
    await row(page, 'first').waitFor()
    await page.unrouteAll({ behavior: 'wait' })
    assert.equal(await page.evaluate(() => globalThis.vanished), 0, 'the rows were gone for a time')
  })
})
