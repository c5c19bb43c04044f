// The screen Cluster.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { accessible, screenshot, v3, withPage } from './page.mjs'

test('members are added and removed in steps, and the quorum is kept', async () => {
  await withPage({ hash: '#/cluster' }, async (page) => {
    const rows = page.locator('tbody tr')
    await rows.first().waitFor()
    await rows.first().getByText('leader', { exact: true }).waitFor()
    await page.getByText('There is nothing to do').waitFor() // defragmentation

    await rows.first().getByRole('button', { name: 'Remove' }).click()
    const box = page.getByRole('dialog')
    await box.getByText('the cluster would end').waitFor()
    await screenshot(page, 'remove-refused')
    await accessible(page, 'a refused change')
    assert.ok(await box.locator('.dialog-foot .danger').isDisabled())
    assert.equal(await box.locator('input[name="confirm"]').count(), 0)
    await box.getByRole('button', { name: 'Cancel' }).click()

    await page.getByRole('button', { name: 'Add a member' }).click()
    await box.getByText('What will happen').waitFor()
    const add = box.getByRole('button', { name: 'Add a learner' })
    await box.locator('input[name="peer-urls"]').fill('not a URL')
    assert.ok(await add.isDisabled())
    await box.locator('input[name="peer-urls"]').fill('http://127.0.0.1:9')
    await add.click()
    await box.getByText('--initial-cluster-state existing').waitFor()
    await screenshot(page, 'member-added')
    await box.locator('.dialog-foot').getByRole('button', { name: 'Close' }).click()
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 2)
    assert.equal((await v3('cluster/member/list', {})).members.length, 2)

    const learner = rows.filter({ hasText: '127.0.0.1:9' })
    await learner.getByRole('button', { name: 'Promote' }).click()
    await box.getByText('This is refused').waitFor()
    await box.getByRole('button', { name: 'Cancel' }).click()

    await learner.getByRole('button', { name: 'Remove' }).click()
    await box.getByText('The member is removed and stops.').waitFor()
    const remove = box.locator('.dialog-foot .danger')
    assert.ok(await remove.isDisabled())
    const word = /Type (\S+) to confirm/.exec(await box.innerText())[1]
    await box.locator('input[name="confirm"]').fill(word)
    await remove.click()
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1)
    assert.equal((await v3('cluster/member/list', {})).members.length, 1)
  })
})

test('a backup goes on while another screen is shown, and is stopped', async () => {
  await withPage({ hash: '#/cluster' }, async (page) => {
    let release
    const held = new Promise((resolve) => (release = resolve))
    await page.route('**/console/api/snapshot', async (route) => {
      await held
      await route.abort().catch(() => {}) // the page has stopped it already
    })
    await page.getByRole('button', { name: 'Download a backup' }).click()
    await page.locator('progress').waitFor()
    await page.locator('.rail a[href="#/access"]').click()
    await page.waitForSelector('.page h2')
    await page.locator('.rail a[href="#/cluster"]').click()
    await page.locator('progress').waitFor()
    await page.getByRole('button', { name: 'Stop', exact: true }).click()
    await page.getByRole('button', { name: 'Download a backup' }).waitFor()
    assert.equal(await page.locator('.toast').count(), 0, 'a stop is no error')
    release()
    await page.unrouteAll({ behavior: 'wait' })
  })
})

test('a backup is downloaded, whole', async () => {
  await withPage({ hash: '#/cluster', acceptDownloads: true }, async (page) => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download a backup' }).click()])
    assert.match(download.suggestedFilename(), /^default-.*\.db$/)
    await page.getByText('Backup complete').waitFor()
    const file = readFileSync(await download.path())
    // A snapshot ends with the SHA-256 of what is before.
    const sum = createHash('sha256').update(file.subarray(0, -32)).digest()
    assert.equal(sum.compare(file.subarray(-32)), 0, `${file.length} bytes`)
  })
})
