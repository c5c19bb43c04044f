// Each screen: it is there, in both languages; it has no serious fault of accessibility, in light,
// in dark and at the width of a phone; it works with the keyboard alone. Screenshots of all are kept.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accessible, editorText, open, row, screenshot, shows, visual, withPage } from './page.mjs'

const phone = { width: 390, height: 800 }

/** Brings a page to each view of the console, and calls back with its name. */
async function eachView(page, seen) {
  const to = (screen) => page.locator(`.rail a[href="#/${screen}"]`).click()
  const tab = (id) => page.locator(`[data-tab="${id}"]`).click()
  await open(page, 'config/', 'web')
  await editorText(page)
  await seen('keys')
  await to('history')
  await page.waitForSelector('.diff-row')
  await seen('history')
  await tab('store')
  await page.waitForSelector('#past .key-row[aria-level]')
  await seen('time-machine')
  await to('live')
  await page.waitForSelector('.toolbar [data-tab="charts"]')
  await page.waitForSelector('.chart canvas')
  await seen('live-charts')
  await tab('watch')
  await page.waitForSelector('input[name="watch-prefix"]')
  await seen('live-watch')
  await to('cluster')
  await page.waitForSelector('tbody tr')
  await seen('cluster')
  await to('access')
  for (const part of ['users', 'roles', 'tester', 'leases', 'locks']) {
    await tab(part)
    await page.waitForSelector('.page h2')
    await seen('access-' + part)
  }
}

for (const [name, options, rules] of [
  ['light', { colorScheme: 'light' }],
  ['dark', { colorScheme: 'dark' }, visual],
  ['phone', { colorScheme: 'light', viewport: phone }, visual],
]) {
  test(`each screen, ${name}`, async () => {
    await withPage(options, (page) =>
      eachView(page, async (view) => {
        await screenshot(page, `${view}-${name}`)
        await accessible(page, `${view}, ${name}`, rules)
        const width = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
        assert.ok(width <= 0, `${view}, ${name}: the page is ${width} pixels wider than its window`)
        const cut = await page.locator('.toolbar').evaluateAll((all) => all.filter((e) => e.scrollHeight > e.clientHeight).length)
        assert.equal(cut, 0, `${view}, ${name}: a toolbar is lower than what it has`)
      }),
    )
  })
}

test('the language of the browser, and the other one', async () => {
  await withPage({ locale: 'zh-CN' }, async (page) => {
    await page.getByRole('navigation', { name: '页面' }).waitFor()
    assert.equal(await page.locator('html').getAttribute('lang'), 'zh-CN')
    await eachView(page, async (view) => {
      await screenshot(page, view + '-chinese')
      const texts = await page.locator('h2, th, label, .toolbar button').allInnerTexts()
      const english = texts.filter((x) => /\b(the|Size|Revision|Name|Add|Delete|Keys|Users|Roles)\b/.test(x))
      assert.deepEqual(english, [], `${view}: English texts in Chinese`)
    })
    await page.getByRole('button', { name: 'English' }).click()
    await page.getByRole('navigation', { name: 'Screens' }).waitFor()
    await page.reload()
    await page.getByRole('navigation', { name: 'Screens' }).waitFor()
  })
})

test('light and dark are remembered', async () => {
  await withPage({ colorScheme: 'light' }, async (page) => {
    const theme = () => page.locator('html').getAttribute('data-theme')
    assert.equal(await theme(), 'light')
    await page.getByRole('button', { name: 'Dark colours' }).click()
    assert.equal(await theme(), 'dark')
    await page.reload()
    await page.getByRole('button', { name: 'Light colours' }).waitFor()
    assert.equal(await theme(), 'dark')
  })
})

test('the keyboard alone', async () => {
  await withPage({}, async (page) => {
    const keys = async (...list) => {
      for (const k of list) await page.keyboard.press(k)
    }
    await row(page, 'config/').waitFor()
    await keys('?')
    const help = page.getByRole('dialog')
    await help.getByText('Next row', { exact: true }).waitFor()
    await screenshot(page, 'keyboard')
    await accessible(page, 'the list of keys')
    await keys('Escape')
    await help.waitFor({ state: 'detached' })

    await keys('j', 'Enter') // "/" has the cursor; config/ opens
    await row(page, 'motd').waitFor()
    await keys('j', 'Enter')
    await shows(page, /^Maintenance/)
    await keys('e')
    await page.waitForSelector('.editor[data-typing][data-ready]')
    await page.keyboard.press('Control+A')
    await page.keyboard.insertText('Typed.')
    await page.keyboard.press('Control+S')
    await page.getByText('Saved at revision').waitFor()
    await shows(page, 'Typed.')
    await keys('h')
    await page.waitForSelector('.mark[aria-current="true"]')
    const newest = await page.locator('.mark').first().innerText()
    await keys('j')
    await page.waitForFunction((n) => document.querySelector('.mark[aria-current="true"]').innerText !== n, newest)
    for (const [key, screen] of [['l', 'live'], ['c', 'cluster'], ['a', 'access'], ['k', 'keys']]) {
      await keys('g', key)
      await page.waitForSelector(`.rail a[href="#/${screen}"][aria-current]`)
    }
    await keys('/')
    await page.keyboard.type('nginx')
    await row(page, '/registry/pods/default/nginx').waitFor()
    await keys('Enter', 'Enter')
    await page.getByText('apiVersion').waitFor()
    await keys('Escape', 'Escape')
    await row(page, 'services/').waitFor()
    await keys('n')
    await page.getByRole('dialog', { name: 'New key' }).waitFor()
    await keys('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    await keys('d')
    await page.getByRole('dialog', { name: 'Delete keys' }).waitFor()
    await keys('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
  })
})
