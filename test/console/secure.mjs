// A server with TLS that identifies clients by their certificates.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { open, screenshot, shows, sites, withPage } from './page.mjs'

const { url: at, client, stranger } = sites.secure
const using = ({ cert, key }) => ({ at, ignoreHTTPSErrors: true, clientCertificates: [{ origin: at, certPath: cert, keyPath: key }] })

test('the common name of a client certificate is the user', async () => {
  await withPage({ ...using(client), hash: '#/cluster' }, async (page) => {
    await page.getByText('root, by client certificate').waitFor()
    const member = page.locator('tbody tr').first()
    // The certificates of the member, with their ends.
    await member.getByText(/^client, server\.crt: until .*20\d\d \(\d+ d/).waitFor()
    await member.getByText(/^client, ca\.crt: until/).waitFor()
    assert.equal(await member.locator('li.soon').count(), 0)
    await screenshot(page, 'certificates')
    await page.locator('.rail a[href="#/keys"]').click()
    await page.getByRole('button', { name: 'New key' }).click()
    const box = page.getByRole('dialog', { name: 'New key' })
    await box.locator('input[name="key"]').fill('/written')
    await box.locator('textarea').fill('by certificate')
    await box.getByRole('button', { name: 'Create' }).click()
    await page.getByText('Saved at revision').waitFor()
    await shows(page, 'by certificate')
    assert.deepEqual(await page.context().cookies(at), [], 'no session is needed')
    // A watch over a websocket has the certificate's user, too.
    await page.locator('.rail a[href="#/live"]').click()
    await page.locator('[data-tab="watch"]').click()
    await page.getByRole('button', { name: 'Watch', exact: true }).click()
    await page.getByText('Waiting for changes.').waitFor()
  })
})

test('a certificate whose name is no user, and a log-in over TLS', async () => {
  await withPage({ ...using(stranger), ready: '.login', expected: ['Failed to load resource'] }, async (page) => {
    assert.equal(await page.getByText('is not encrypted').count(), 0)
    await page.locator('input[name="user"]').fill('root')
    await page.locator('input[name="password"]').fill('r00t')
    await page.getByRole('button', { name: 'Log in' }).click()
    await open(page, 'written')
    await shows(page, 'by certificate')
    const [cookie] = await page.context().cookies(at)
    assert.ok(cookie.name.startsWith('__Host-') && cookie.secure && cookie.httpOnly && cookie.sameSite === 'Strict', JSON.stringify(cookie))
    await page.getByRole('button', { name: /root/ }).click()
    await page.waitForSelector('.login')
  })
})

test('a browser without a certificate gets no page', async () => {
  await assert.rejects(withPage({ at, ignoreHTTPSErrors: true }, async () => {}), /net::ERR_/)
})
