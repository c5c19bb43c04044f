// Which screen is shown. The hash of the address names the screen and nothing else: no key of the
// store is in a URL. What a screen opens is in memory.

import { signal } from '@preact/signals'
import type { Bytes } from './bytes.ts'
import { leave } from './unsaved.ts'

export const screens = ['keys', 'history', 'live', 'cluster', 'access'] as const
export type Screen = (typeof screens)[number]

const fromHash = (): Screen => screens.find((s) => location.hash === '#/' + s) ?? 'keys'

export const screen = signal<Screen>(fromHash())

export function startRoute(): void {
  addEventListener('hashchange', () => {
    const to = fromHash()
    if (to === screen.value) return
    const left = leave(() => {
      screen.value = to
      if (fromHash() !== to) location.hash = '#/' + to
    })
    if (!left) window.history.replaceState(null, '', '#/' + screen.value)
  })
}

export function go(to: Screen): void {
  if (screen.value !== to) location.hash = '#/' + to
}

/** The key that the screens Keys and History are about. */
export const openKey = signal<Bytes | null>(null)
