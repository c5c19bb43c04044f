// May a user read and write a key? And which permission decides?

import { useState } from 'preact/hooks'
import { may, users, type Verdict } from '../../api/access.ts'
import { session } from '../../api/session.ts'
import { parse, prefixEnd } from '../../lib/bytes.ts'
import { t } from '../../text/index.ts'
import { useLoad } from '../../ui/load.ts'
import { Failure } from '../../ui/parts.tsx'
import { Range } from './range.tsx'

export function Tester() {
  const a = t().access
  const own = session.value!.user
  const root = session.value!.root
  const known = useLoad(async (stop) => (root ? (await users(stop)).map((u) => u.name) : [own]), [])
  const [user, setUser] = useState(own)
  const [key, setKey] = useState('')
  const [prefix, setPrefix] = useState(false)
  const [answer, setAnswer] = useState<{ read: Verdict; write: Verdict } | null>(null)
  const [error, setError] = useState<unknown>(null)
  const test = async (e: Event) => {
    e.preventDefault()
    setError(null)
    setAnswer(null)
    const start = parse(key)
    try {
      setAnswer(await may(user, prefix && start === '' ? '\0' : start, prefix ? prefixEnd(start) : ''))
    } catch (e) {
      setError(e)
    }
  }
  return (
    <section class="card stack tester">
      <h2>{a.tester}</h2>
      <form class="stack" onSubmit={(e) => void test(e)}>
        <div class="row">
          <label class="field">
            <span>{a.user}</span>
            <input class="input" name="test-user" list="users" autocomplete="off" title={a.testHint} value={user} onInput={(e) => setUser(e.currentTarget.value)} />
            <datalist id="users">
              {(known.data ?? []).map((n) => (
                <option value={n} />
              ))}
            </datalist>
          </label>
          <label class="field grow">
            <span>{a.key}</span>
            <input class="input mono" name="test-key" autocomplete="off" spellcheck={false} value={key} onInput={(e) => setKey(e.currentTarget.value)} />
          </label>
        </div>
        <div class="row">
          <label class="check grow">
            <input type="checkbox" checked={prefix} onChange={(e) => setPrefix(e.currentTarget.checked)} />
            {a.testPrefix}
          </label>
          <button class="button primary" disabled={user === '' || (key === '' && !prefix)}>
            {a.test}
          </button>
        </div>
      </form>
      {error ? <Failure e={error} /> : null}
      <div class="stack" role="status">
        {answer && (
          <>
            <Answer v={answer.read} yes={a.canRead} no={a.cannotRead} />
            <Answer v={answer.write} yes={a.canWrite} no={a.cannotWrite} />
          </>
        )}
      </div>
    </section>
  )
}

function Answer({ v, yes, no }: { v: Verdict; yes: string; no: string }) {
  const a = t().access
  return (
    <div class={v.allowed ? 'note good' : 'note bad'}>
      <b>{v.allowed ? yes : no}</b>
      <ul>
        {v.root ? <li>{a.byRoot}</li> : null}
        {!v.root &&
          v.by.map((b) => (
            <li class="wrap">
              {a.role} <b>{b.role}</b>: {a.kinds[b.permission.kind]} <Range start={b.permission.key} end={b.permission.end} />
            </li>
          ))}
        {!v.root && v.by.length === 0 && <li>{!v.allowed ? a.noneDecides : session.value?.auth_enabled ? v.reason : a.authOffDecides}</li>}
      </ul>
    </div>
  )
}
