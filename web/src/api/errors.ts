// What the server's errors mean, in the language of the page. The server's texts are English.

import { lang } from '../lib/lang.ts'
import table from '../text/errors.json' with { type: 'json' }
import { ApiError } from './call.ts'

interface Entry {
  en: string
  zh: string
}

const texts: Record<string, Entry> = table.texts
const begins: Record<string, Entry> = table.begins
const codes: Record<string, Entry> = table.codes

/** An error in the language of the page, and the text of the server if that is another one. */
export interface Explained {
  text: string
  original: string
}

/** The explanation of a text of the server, by the text or by the error's code. */
export function explainText(message: string, code = -1): Explained {
  const short = message.replace(/^etcdserver: /, '')
  const start = Object.keys(begins).find((b) => short.startsWith(b))
  const entry = texts[short] ?? (start === undefined ? codes[code] : begins[start])
  return entry ? { text: lang.value === 'zh-CN' ? entry.zh : entry.en, original: short } : { text: short, original: '' }
}

export function explain(e: unknown): Explained {
  if (e instanceof ApiError) return explainText(e.message, e.code)
  return { text: e instanceof Error ? e.message : String(e), original: '' }
}
