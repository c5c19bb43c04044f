// The screen Access, and what a user with few permissions sees. Enables authentication.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accessible, b64, comeBack, editorText, get, open, put, row, screenshot, shows, type, url, v3, withPage } from './page.mjs'

const part = (page, id) => page.locator(`[data-tab="${id}"]`).click()
const dialog = (page, name) => page.getByRole('dialog', { name })

test('leases are granted and revoked', async () => {
  const { ID } = await v3('lease/grant', { TTL: '1000', ID: '0' })
  await put('/leased/key', 'x', ID)
  await withPage({ hash: '#/access' }, async (page) => {
    await part(page, 'leases')
    await page.getByRole('button', { name: 'Grant a lease' }).click()
    await page.locator('input[name="lease-ttl"]').fill('777')
    await dialog(page, 'Grant a lease').getByRole('button', { name: 'Create' }).click()
    await page.getByText(/^Lease \w+ granted/).waitFor()
    await page.locator('tbody tr', { hasText: '12 min 57 s' }).waitFor()
    const leased = page.locator('tbody tr', { hasText: '/leased/key' })
    await leased.getByRole('button', { name: 'Revoke a lease' }).click()
    await dialog(page, 'Revoke a lease').getByText('1 key with it').waitFor()
    assert.ok(await dialog(page, 'Revoke a lease').locator('.dialog-foot .danger').isDisabled())
    await page.locator('input[name="confirm"]').fill('1')
    await dialog(page, 'Revoke a lease').locator('.dialog-foot .danger').click()
    await leased.waitFor({ state: 'detached' })
  })
  assert.equal((await v3('kv/range', { key: b64('/leased/key') })).kvs, undefined)
})

test('locks and elections show who holds them', async () => {
  await withPage({ hash: '#/access' }, async (page) => {
    await part(page, 'locks')
    await page.locator('tbody tr', { hasText: '/locks/deploy' }).getByText('lock', { exact: true }).waitFor()
    const election = page.locator('tbody tr', { hasText: '/elections/main' })
    await election.getByText('election', { exact: true }).waitFor()
    await election.getByText('node-1').waitFor()
  })
})

test('users, roles, and which permission decides', async () => {
  await withPage({ hash: '#/access' }, async (page) => {
    await part(page, 'roles')
    const add = async (kind, name, password) => {
      await part(page, kind + 's')
      await page.getByRole('button', { name: `Add a ${kind}` }).click()
      await page.locator(`input[name="new-${kind}"]`).fill(name)
      if (password) await page.locator('input[name="new-password"]').fill(password)
      await dialog(page, `Add a ${kind}`).getByRole('button', { name: 'Create' }).click()
      await page.locator('tbody th', { hasText: name }).waitFor()
    }
    await add('role', 'root')
    await add('role', 'reader')
    await page.locator('tbody tr', { hasText: 'reader' }).getByRole('button', { name: 'Add permission' }).click()
    await page.locator('input[name="perm-key"]').fill('/config/')
    await dialog(page, 'Add permission: reader').locator('.dialog-foot .primary').click()
    await page.locator('tbody tr', { hasText: 'reader' }).getByText('/config/*').waitFor()
    await add('user', 'root', 'r00t')
    await add('user', 'alice', 'secret')
    await page.getByLabel('Add role: root').selectOption('root')
    await page.getByLabel('Add role: alice').selectOption('reader')
    await page.getByRole('button', { name: 'Take away reader' }).waitFor()
    await screenshot(page, 'access-edited')
    await accessible(page, 'users')

    await page.getByRole('button', { name: 'Turn on' }).click()
    await dialog(page, 'Turn on').locator('.dialog-foot .primary').click()
    await page.getByText('requires a user and a password').waitFor()
    await screenshot(page, 'login')
    await accessible(page, 'the log-in')
  })
})

async function login(page, user, password) {
  await page.locator('input[name="user"]').fill(user)
  await page.locator('input[name="password"]').fill(password)
  await page.getByRole('button', { name: 'Log in' }).click()
}

test('errors of the server are explained in the language of the page', async () => {
  await withPage({ locale: 'zh-CN', ready: '.login', expected: ['Failed to load resource'] }, async (page) => {
    await page.locator('input[name="user"]').fill('alice')
    await page.locator('input[name="password"]').fill('wrong')
    await page.getByRole('button', { name: '登录' }).click()
    await page.getByRole('alert').getByText('用户名或密码错误。').waitFor()
    await page.locator('small.original', { hasText: 'authentication failed, invalid user ID or password' }).waitFor()
    await screenshot(page, 'login-failed-chinese')
    await accessible(page, 'a failed log-in in Chinese')
  })
})

test('the log-in, and a user with few permissions', async () => {
  await withPage({ ready: '.login', expected: ['Failed to load resource'] }, async (page) => {
    await login(page, 'alice', 'wrong')
    await page.getByText('authentication failed').waitFor()
    await login(page, 'alice', 'secret')
    await row(page, 'config/').waitFor()
    assert.equal(await row(page, 'services/').count(), 0, 'a prefix that alice may not read')
    assert.doesNotMatch(await page.locator('.facts').innerText(), /keys/, 'the number of all keys')
    assert.equal(await page.evaluate(() => document.cookie), '', 'the cookie is hidden from scripts')
    const cookie = (await page.context().cookies(url))[0]
    assert.ok(cookie.httpOnly && cookie.sameSite === 'Strict', JSON.stringify(cookie))
    await open(page, 'config/', 'web')
    await editorText(page)
    assert.equal(await page.getByRole('button', { name: 'Edit' }).count(), 0, 'alice may not write it')
    // The server refuses what the page does not offer.
    const status = await page.evaluate(async (key) => {
      const headers = { 'Content-Type': 'application/json', 'X-Cairn-Console': '1' }
      const r = await fetch('/v3/kv/put', { method: 'POST', headers, body: JSON.stringify({ key, value: key }) })
      return r.status
    }, b64('/config/web'))
    assert.equal(status, 403)
    await page.getByRole('button', { name: 'New key' }).click()
    await dialog(page, 'New key').locator('input[name="key"]').fill('/config/new')
    await dialog(page, 'New key').getByRole('button', { name: 'Create' }).click()
    await dialog(page, 'New key').getByText('permission denied').waitFor()
    await screenshot(page, 'refused')
    await page.keyboard.press('Escape')
    await page.keyboard.press('g')
    await page.keyboard.press('a')
    await page.getByText('Only a user with the role root').waitFor()
    await page.reload()
    await page.getByRole('button', { name: /alice/ }).click()
    await page.waitForSelector('.login')
  })
})

test('a log-out leaves no data of its user to the next one', async () => {
  await withPage({ ready: '.login', expected: ['Failed to load resource'] }, async (page) => {
    await login(page, 'root', 'r00t')
    await row(page, 'services/').waitFor()
    await page.locator('.rail a[href="#/live"]').click()
    await page.locator('[data-tab="watch"]').click()
    await page.getByRole('button', { name: 'Watch', exact: true }).click()
    await page.getByText('Waiting for changes.').waitFor()
    await page.getByRole('button', { name: /root/ }).click()
    await page.waitForSelector('main.login')
    await login(page, 'alice', 'secret')
    await page.locator('[data-tab="watch"]').click()
    await page.getByText('Choose a prefix and start to watch.').waitFor()
    await page.locator('.rail a[href="#/keys"]').click()
    await row(page, 'config/').waitFor()
    assert.equal(await row(page, 'services/').count(), 0, "a prefix of root's list")
  })
})

test('a session ends during an edit, and the edit goes on', async () => {
  const { token } = await v3('auth/authenticate', { name: 'root', password: 'r00t' })
  await withPage({ ready: '.login', expected: ['Failed to load resource'] }, async (page) => {
    await login(page, 'root', 'r00t')
    await open(page, 'config/', 'motd')
    await page.getByRole('button', { name: 'Edit' }).click()
    await type(page, 'typed before the session ended')
    await page.context().clearCookies()
    await page.getByRole('button', { name: 'Save' }).click()
    const again = page.locator('dialog.login')
    await again.getByText('Your session has ended').waitFor()
    await screenshot(page, 'session-ended')
    await accessible(page, 'the log-in after a session')
    for (let i = 0; i < 3; i++) {
      await page.keyboard.press('Escape')
      await again.waitFor()
    }
    await login(page, 'root', 'r00t')
    await again.waitFor({ state: 'detached' })
    await shows(page, 'typed before the session ended')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByText('Saved at revision').waitFor()
    assert.equal(await get('/config/motd', token), 'typed before the session ended')

    // Another user starts with an empty page.
    await page.getByRole('button', { name: 'Edit' }).click()
    await type(page, 'not saved')
    await page.context().clearCookies()
    await comeBack(page)
    await again.waitFor()
    await login(page, 'alice', 'secret')
    await page.locator('.bar').getByText('alice').waitFor()
    await row(page, 'config/').waitFor()
    assert.equal(await page.locator('.editor').count(), 0)
    assert.equal(await get('/config/motd', token), 'typed before the session ended')
  })
})

test('the permission test, and turning authentication off', async () => {
  await withPage({ ready: '.login', expected: ['Failed to load resource'] }, async (page) => {
    await login(page, 'root', 'r00t')
    await page.locator('.rail a[href="#/access"]').click()
    await part(page, 'tester')
    await page.locator('input[name="test-user"]').fill('alice')
    await page.locator('input[name="test-key"]').fill('/config/web')
    await page.getByRole('button', { name: 'Test', exact: true }).click()
    await page.locator('.note.good', { hasText: 'may read' }).getByText('reader').waitFor()
    await page.locator('.note.bad', { hasText: 'may not write' }).waitFor()
    await screenshot(page, 'permission-test')
    await accessible(page, 'the permission test')
    await part(page, 'users')
    await page.locator('tbody tr', { hasText: 'alice' }).getByRole('button', { name: 'Delete' }).click()
    await page.locator('input[name="confirm"]').fill('alice')
    await dialog(page, 'Delete a user').locator('.dialog-foot .danger').click()
    await page.locator('tbody th', { hasText: 'alice' }).waitFor({ state: 'detached' })
    await page.getByRole('button', { name: 'Turn off' }).click()
    await page.locator('input[name="confirm"]').fill('disable')
    await dialog(page, 'Turn off').locator('.dialog-foot .danger').click()
    await page.getByText('Authentication is off').waitFor()
  })
})
