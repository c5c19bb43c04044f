// The screen Cluster of three members: what is done with them, and what is refused since it would
// lose the quorum.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, test } from 'node:test'
import { get, put, screenshot, sites, v3, withPage } from './page.mjs'

const { members, program, joining } = sites.fleet
const children = []
after(() => children.forEach((c) => c.kill('SIGKILL')))

/** Starts the member that joins, with the flags that the console shows. */
function start(flags) {
  const args = flags.replace(/^\s*etcd /, '').replaceAll('NAME', joining.name).split(/[\s\\]+/).filter(Boolean)
  const more = ['--data-dir', joining.dir, '--listen-client-urls', joining.url, '--advertise-client-urls', joining.url]
  children.push(spawn(program, [...args, ...more], { stdio: 'ignore' }))
}

test('three members: leadership moves, one is replaced, and no quorum is lost', async () => {
  const status = await v3('maintenance/status', {}, undefined, members[0].url)
  const leader = members.find((m) => m.id === status.leader)
  const [shown, killed] = members.filter((m) => m !== leader)
  await withPage({ at: shown.url, hash: '#/cluster', expected: ['Failed to load resource'] }, async (page) => {
    const row = (m) => page.locator('tbody tr', { has: page.locator('bdi', { hasText: new RegExp(`^${m.name}$`) }) })
    const box = page.getByRole('dialog')
    const begin = (m, action) => row(m).getByRole('button', { name: action, exact: true }).click()
    const submit = box.locator('.dialog-foot button').last()
    const confirm = async (word) => {
      assert.ok(await submit.isDisabled())
      await box.locator('input[name="confirm"]').fill(word)
    }
    // A change is refused until the members have been connected for some seconds, and a promotion until
    // the learner has the data.
    const submitUntilAccepted = async () => {
      do {
        await submit.click()
        const ends = [box.waitFor({ state: 'hidden' }), page.locator('dialog .note.bad').waitFor()]
        await Promise.race(ends.map((end) => end.catch(() => {})))
      } while (await box.isVisible())
    }
    const leads = (m) => row(m).getByText('leader', { exact: true }).waitFor()
    const refused = async (m, action) => {
      await begin(m, action)
      await box.getByText('the cluster would lose its quorum').waitFor()
      await box.getByText('then: 2 voters, 1 reachable, 2 needed: no quorum').waitFor()
      assert.ok(await submit.isDisabled())
      assert.equal(await box.locator('input[name="confirm"]').count(), 0)
    }
    const cancel = () => box.getByRole('button', { name: 'Cancel' }).click()
    await leads(leader)
    await page.getByText('3 of 3 voters reachable; 2 needed').waitFor()
    await row(leader).getByText(/KiB|MiB/).first().waitFor() // the state of another member

    await begin(shown, 'Make leader')
    await box.getByText('The leadership is handed over').waitFor()
    await box.getByText('now: 3 voters, 3 reachable, 2 needed: 1 may fail; then: 3 voters, 3 reachable, 2 needed: 1 may fail').waitFor()
    await screenshot(page, 'move-leader')
    await submit.click()
    await leads(shown)
    assert.equal((await v3('maintenance/status', {}, undefined, leader.url)).leader, shown.id)

    await begin(shown, 'Remove')
    await box.getByText('The leadership moves to another member.').waitFor()
    await box.getByText('The member serves this page.').waitFor()
    await box.getByText('then: 2 voters, 2 reachable, 2 needed: 0 may fail').waitFor()
    await screenshot(page, 'remove-leader')
    await cancel()

    process.kill(killed.pid, 'SIGKILL')
    await row(killed).getByText('unreachable', { exact: true }).waitFor()
    await refused(leader, 'Remove')
    await screenshot(page, 'remove-live-refused')
    await cancel()
    await refused(leader, 'Replace')
    await cancel()
    // The server refuses it, too.
    await assert.rejects(v3('cluster/member/remove', { ID: leader.id }, undefined, shown.url), /unhealthy cluster/)
    await page.getByRole('button', { name: 'Add a member' }).click()
    await box.getByText('Members that vote cannot be reached now.').waitFor()
    assert.ok(await submit.isDisabled())
    await cancel()

    await begin(killed, 'Replace')
    await box.getByText('receives the data and does not vote').waitFor()
    await box.getByText('now: 3 voters, 2 reachable, 2 needed: 0 may fail; then: 2 voters, 2 reachable, 2 needed: 0 may fail').waitFor()
    await screenshot(page, 'replace')
    // The addition fails after the removal: another attempt adds only.
    await box.locator('input[name="peer-urls"]').fill(leader.peer)
    await confirm(killed.name)
    await submit.click()
    await box.getByText(/already exists/).waitFor()
    await row(killed).waitFor({ state: 'detached' })
    await box.locator('input[name="peer-urls"]').fill(joining.peer)
    await submit.click()
    start(await box.locator('.flags').innerText())
    await screenshot(page, 'replaced')
    await submit.click()
    await row(joining).getByText('learner', { exact: true }).waitFor()

    await begin(joining, 'Promote')
    await box.getByText('becomes a member that votes').waitFor()
    await submitUntilAccepted()
    await page.getByText('3 of 3 voters reachable; 2 needed').waitFor()
    await begin(joining, 'Make leader')
    await submit.click()
    await leads(joining)

    await begin(leader, 'Remove')
    await box.getByText('Afterwards no member may fail.').waitFor()
    await confirm(leader.name)
    await submitUntilAccepted()
    await row(leader).waitFor({ state: 'detached' })
    // The leader hands over before it is removed.
    await begin(joining, 'Remove')
    await box.getByText('The leadership moves to another member.').waitFor()
    await confirm(joining.name)
    await submitUntilAccepted()
    await row(joining).waitFor({ state: 'detached' })
    await leads(shown)
    await page.getByText('1 of 1 voter reachable; 1 needed').waitFor()
  })
  await put('/after', 'changes', '0', shown.url)
  assert.equal(await get('/after', undefined, shown.url), 'changes')
})
