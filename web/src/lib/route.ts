// Which screen is shown. The hash of the address names the screen and nothing else: no key of the
// store is in a URL. What a screen opens is in memory.

import { signal } from '@preact/signals'
import type { Bytes } from './bytes.ts'

export const screens = ['keys', 'history', 'live', 'cluster', 'access'] as const
export type Screen = (typeof screens)[number]

const fromHash = (): Screen => screens.find((s) => location.hash === '#/' + s) ?? 'keys'

export const screen = signal<Screen>(fromHash())

export function startRoute(): void {
  addEventListener('hashchange', () => {
    screen.value = fromHash()
  })
}

export function go(to: Screen): void {
  if (screen.value !== to) location.hash = '#/' + to
}

/** The key that the screens Keys and History are about. */
export const openKey = signal<Bytes | null>(null)
