// Short messages about what has been done, or why it has not.

import { signal } from '@preact/signals'
import { t } from '../text/index.ts'
import { Icon } from './icons.tsx'
import { ErrorText } from './parts.tsx'

interface Toast {
  id: number
  /** What has been done, or the error. */
  what: unknown
  bad: boolean
}

const toasts = signal<Toast[]>([])
let nextId = 1
const goodFor = 6000 // ms; errors stay until they are closed. test/console keeps all of them: see page.mjs

function close(id: number): void {
  toasts.value = toasts.value.filter((x) => x.id !== id)
}

/** Shows for some seconds that something has been done. */
export function done(text: string): void {
  const id = nextId++
  toasts.value = [...toasts.value.slice(-3), { id, what: text, bad: false }]
  setTimeout(() => close(id), goodFor)
}

/** Shows why something has not been done. */
export function failed(e: unknown): void {
  toasts.value = [...toasts.value.slice(-3), { id: nextId++, what: e, bad: true }]
}

export const Toasts = () => (
  <div class="toasts" role="status" aria-live="polite">
    {toasts.value.map((x) => (
      <div key={x.id} class={x.bad ? 'toast bad' : 'toast'}>
        {x.bad ? <ErrorText e={x.what} /> : <span class="grow wrap">{String(x.what)}</span>}
        <button class="button plain icon" aria-label={t().close} onClick={() => close(x.id)}>
          <Icon name="close" />
        </button>
      </div>
    ))}
  </div>
)
