// The log-in. The response sets a cookie that no script can read.

import { useEffect, useRef, useState } from 'preact/hooks'
import { login, session } from './api/session.ts'
import { t } from './text/index.ts'
import { Mark } from './ui/icons.tsx'
import { Failure } from './ui/parts.tsx'

export const Login = () => (
  <main class="login">
    <LoginForm reason={t().login.needed} />
  </main>
)

/** The log-in after a session has expired. It covers the page, which keeps what it shows and what was
 * typed, and every other dialog. */
export function LoginAgain() {
  const ref = useRef<HTMLDialogElement>(null)
  const show = () => {
    if (ref.current && !ref.current.open) ref.current.showModal()
  }
  useEffect(show, [])
  // Browsers close a dialog at the second Escape, whether or not that is prevented.
  return (
    <dialog ref={ref} class="login" aria-label={t().login.title} onCancel={(e) => e.preventDefault()} onClose={show}>
      <LoginForm reason={session.value!.auth_enabled ? t().login.expired : t().login.needed} />
    </dialog>
  )
}

function LoginForm({ reason }: { reason: string }) {
  const before = session.value?.user ?? '' // of a session that has expired
  const [user, setUser] = useState(before)
  const [password, setPassword] = useState('')
  const [error, setError] = useState<unknown>(null)
  const [working, setWorking] = useState(false)
  const submit = async (e: Event) => {
    e.preventDefault()
    setWorking(true)
    setError(null)
    try {
      await login(user, password)
    } catch (e) {
      setError(e)
      setPassword('')
    }
    setWorking(false)
  }
  return (
    <form onSubmit={(e) => void submit(e)}>
      <h1 class="brand">
        <Mark />
        cairn
      </h1>
      <p class="soft">{reason}</p>
      <label class="field">
        <span>{t().login.user}</span>
        <input class="input" name="user" autocomplete="username" autofocus={before === ''} value={user} onInput={(e) => setUser(e.currentTarget.value)} />
      </label>
      <label class="field">
        <span>{t().login.password}</span>
        <input class="input" name="password" type="password" autocomplete="current-password" autofocus={before !== ''} value={password} onInput={(e) => setPassword(e.currentTarget.value)} />
      </label>
      {session.value?.secure === false && <p class="note warn">{t().login.insecure}</p>}
      {error ? <Failure e={error} /> : null}
      <button class="button primary" disabled={working || user === ''}>
        {t().login.title}
      </button>
    </form>
  )
}
