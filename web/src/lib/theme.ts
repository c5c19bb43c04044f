// Light or dark: the system's, unless the user has chosen one.

import { effect, signal } from '@preact/signals'
import { remember, remembered } from './lang.ts'

export type Theme = 'system' | 'light' | 'dark'

const stored = remembered('theme')
export const theme = signal<Theme>(stored === 'light' || stored === 'dark' ? stored : 'system')

const dark = matchMedia('(prefers-color-scheme: dark)')
export const isDark = signal(false)

function apply(): void {
  isDark.value = theme.value === 'dark' || (theme.value === 'system' && dark.matches)
  document.documentElement.dataset.theme = isDark.value ? 'dark' : 'light'
}

export function startTheme(): void {
  dark.addEventListener('change', apply)
  effect(apply)
}

/** Changes to the other of light and dark. */
export function toggleTheme(): void {
  theme.value = isDark.value ? 'light' : 'dark'
  remember('theme', theme.value)
}
