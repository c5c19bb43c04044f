// Small parts that several screens use.

import { signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { explain, explainText } from '../api/errors.ts'
import { type Bytes, show } from '../lib/bytes.ts'
import { duration } from '../lib/format.ts'
import { t } from '../text/index.ts'

/** The time, each second, while something that counts down is shown. */
export const now = signal(Date.now())
let watchers = 0
let timer: ReturnType<typeof setInterval> | undefined

function useSeconds(on: boolean): void {
  useEffect(() => {
    if (!on) return
    if (watchers++ === 0) timer = setInterval(() => (now.value = Date.now()), 1000)
    now.value = Date.now()
    return () => {
      if (--watchers === 0) clearInterval(timer)
    }
  }, [on])
}

/** The time left until a moment in ms; nothing for 0. */
export function Left({ ends }: { ends: number }) {
  useSeconds(ends > 0)
  if (ends <= 0) return null
  const left = Math.max(0, (ends - now.value) / 1000)
  return <span class={left < 10 ? 'soon' : undefined}>{duration(Math.floor(left))}</span>
}

/** A key as text that cannot change its neighbours. */
export const Key = ({ k }: { k: Bytes }) => <bdi class="key">{k === '' ? t().keys.emptyKey : show(k)}</bdi>

export const Empty = ({ children }: { children: ComponentChildren }) => <div class="empty">{children}</div>

/** An error in the language of the page, with the server's own text in small print. */
export function ErrorText({ e }: { e: unknown }) {
  const { text, original } = typeof e === 'string' ? explainText(e) : explain(e)
  return (
    <span class="grow wrap">
      {text}
      {original !== '' && (
        <small class="original" lang="en">
          <bdi>{original}</bdi>
        </small>
      )}
    </span>
  )
}

/** Why something is not shown. */
export const Failure = ({ e, retry }: { e: unknown; retry?: () => void }) => (
  <div class="note bad row" role="alert">
    <ErrorText e={e} />
    {retry && (
      <button type="button" class="button" onClick={retry}>
        {t().retry}
      </button>
    )}
  </div>
)

interface TabsProps<T extends string> {
  label: string
  tabs: readonly (readonly [T, string])[]
  at: T
  onChange: (to: T) => void
}

/** A choice of one view of several; arrow keys move. */
export function Tabs<T extends string>({ label, tabs, at, onChange }: TabsProps<T>) {
  const move = (e: KeyboardEvent) => {
    const by = e.key === 'ArrowRight' ? 1 : e.key === 'ArrowLeft' ? -1 : 0
    if (!by) return
    e.preventDefault()
    const to = (tabs.findIndex(([id]) => id === at) + by + tabs.length) % tabs.length
    onChange(tabs[to][0])
    const buttons = (e.currentTarget as HTMLElement).querySelectorAll('button')
    buttons[to].focus()
  }
  return (
    <div class="segments" role="tablist" aria-label={label} onKeyDown={move}>
      {tabs.map(([id, text]) => (
        <button key={id} type="button" role="tab" data-tab={id} aria-selected={id === at} tabIndex={id === at ? 0 : -1} onClick={() => onChange(id)}>
          {text}
        </button>
      ))}
    </div>
  )
}
