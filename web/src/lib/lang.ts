// The language of the console: the browser's, unless the user has chosen another.

import { signal } from '@preact/signals'

export type Lang = 'en' | 'zh-CN'

/** What the user chose, kept in the browser; it holds no data of the store. */
export function remembered(name: string): string | null {
  try {
    return localStorage.getItem('cairn.' + name)
  } catch {
    return null // storage is blocked: nothing is remembered
  }
}

export function remember(name: string, value: string): void {
  try {
    localStorage.setItem('cairn.' + name, value)
  } catch {
    // storage is blocked: the choice holds until the page is closed
  }
}

function preferred(): Lang {
  const chosen = typeof localStorage === 'undefined' ? null : remembered('lang')
  if (chosen === 'en' || chosen === 'zh-CN') return chosen
  const languages = typeof navigator === 'undefined' ? [] : navigator.languages
  const first = languages.find((l) => /^(zh|en)\b/i.test(l))
  return first && /^zh/i.test(first) ? 'zh-CN' : 'en'
}

export const lang = signal<Lang>(preferred())

export function chooseLang(to: Lang): void {
  remember('lang', to)
  lang.value = to
}
