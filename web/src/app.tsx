// The frame around the screens: what is known of the member, the choice of screens, the log-in.

import { effect, signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { online } from './api/call.ts'
import { expired, logout, needsLogin, readOnly, refreshSession, session, sessionError } from './api/session.ts'
import { Help, helpShown } from './help.tsx'
import { count } from './lib/format.ts'
import { register } from './lib/keyboard.ts'
import { chooseLang, lang } from './lib/lang.ts'
import { go, type Screen, screen, screens } from './lib/route.ts'
import { isDark, toggleTheme } from './lib/theme.ts'
import { repeat } from './lib/visible.ts'
import { Login, LoginAgain } from './login.tsx'
import { Keys } from './screens/keys/index.tsx'
import { t } from './text/index.ts'
import { Icon, Mark } from './ui/icons.tsx'
import { Empty, Failure } from './ui/parts.tsx'
import { Later } from './ui/later.tsx'
import { Toasts } from './ui/toast.tsx'

const sessionEvery = 15_000 // ms; the revision, the number of keys and the list of keys are this old at most
const retryEvery = 2_000 // ms, while the server cannot be reached

effect(() => {
  document.documentElement.lang = lang.value
  document.title = session.value ? `${session.value.member_name} · cairn` : 'cairn'
})

const shortcut: Record<Screen, string> = { keys: 'g k', history: 'g h', live: 'g l', cluster: 'g c', access: 'g a' }

export function App() {
  useEffect(() => {
    const end = repeat(refreshSession, () => (online.peek() ? sessionEvery : retryEvery))
    const remove = register(
      () => t().helpAny,
      [
        ...screens.map((s) => ({ keys: [shortcut[s]], help: () => t().goTo(t().screens[s]), run: () => go(s) })),
        { keys: ['?'], help: () => t().showHelp, run: () => (helpShown.value = true) },
      ],
    )
    return () => {
      end()
      remove()
    }
  }, [])
  if (session.value === null) {
    return <Empty>{sessionError.value ? <Failure e={sessionError.value} retry={() => void refreshSession()} /> : t().loading}</Empty>
  }
  if (needsLogin.value) return <Login />
  return (
    <div class="shell">
      <a class="button skip" href="#main" onClick={focusMain}>
        {t().skip}
      </a>
      <div class="brand">
        <Mark />
        cairn
      </div>
      <Bar />
      <Rail />
      <main class="main" id="main" tabIndex={-1}>
        {!online.value && (
          <div class="banner" role="alert">
            <Icon name="warn" />
            {t().offline}
          </div>
        )}
        <h1 class="unseen">{t().screens[screen.value]}</h1>
        <Shown />
      </main>
      <Toasts />
      {helpShown.value && <Help onClose={() => (helpShown.value = false)} />}
      {expired.value && <LoginAgain />}
    </div>
  )
}

function focusMain(e: MouseEvent): void {
  e.preventDefault()
  document.getElementById('main')?.focus()
}

const laterScreens = {
  history: () => import('./screens/history/index.tsx').then((m) => m.History),
  live: () => import('./screens/live/index.tsx').then((m) => m.Live),
  cluster: () => import('./screens/cluster/index.tsx').then((m) => m.Cluster),
  access: () => import('./screens/access/index.tsx').then((m) => m.Access),
}

const Shown = () => (screen.value === 'keys' ? <Keys /> : <Later key={screen.value} load={laterScreens[screen.value]} />)

function Bar() {
  const s = session.value!
  return (
    <header class="bar">
      <div class="facts">
        <span>
          {t().member} <b>{s.member_name}</b>
        </span>
        <span>
          {t().revision} <b>{count(s.revision)}</b>
        </span>
        {s.root && (
          <span class="wide">
            <b>{count(s.keys)}</b> {t().keyCount(s.keys)}
          </span>
        )}
        {readOnly.value && (
          <span class="tag warn" title={t().readOnlyHint}>
            {t().readOnly}
          </span>
        )}
      </div>
      <div class="end">
        {s.user !== '' && <User />}
        <button class="button plain" title={t().languageHint} onClick={() => chooseLang(lang.value === 'en' ? 'zh-CN' : 'en')} lang={lang.value === 'en' ? 'zh-CN' : 'en'}>
          {t().language}
        </button>
        <button class="button plain icon" aria-label={isDark.value ? t().toLight : t().toDark} title={isDark.value ? t().toLight : t().toDark} onClick={toggleTheme}>
          <Icon name={isDark.value ? 'sun' : 'moon'} />
        </button>
        <button class="button plain icon" aria-label={t().help} title={t().help + ' (?)'} onClick={() => (helpShown.value = true)}>
          <Icon name="help" />
        </button>
      </div>
    </header>
  )
}

const leaving = signal(false)

function User() {
  const s = session.value!
  const out = () => {
    leaving.value = true
    void logout().finally(() => (leaving.value = false))
  }
  if (s.login === 'certificate') return <span class="soft">{t().login.certificate(s.user)}</span>
  return (
    <button class="button plain" title={t().login.as(s.user)} disabled={leaving.value} onClick={out}>
      <Icon name="user" />
      <bdi>{s.user}</bdi>
      <span class="faint">{t().login.out}</span>
    </button>
  )
}

const Rail = () => (
  <nav class="rail" aria-label={t().navigation}>
    {screens.map((s) => (
      <a key={s} href={'#/' + s} aria-current={screen.value === s ? 'page' : undefined}>
        <Icon name={s} />
        {t().screens[s]}
        <kbd aria-hidden="true">{shortcut[s]}</kbd>
      </a>
    ))}
    <div class="foot">
      cairn {session.value?.cairn}
      <br />
      etcd {session.value?.version}
    </div>
  </nav>
)
