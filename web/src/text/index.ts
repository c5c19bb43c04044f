// The texts of the console, in each language.

import { lang } from '../lib/lang.ts'
import { en } from './en.ts'
import { zh } from './zh.ts'

/** The form of all texts: each language has all of them. */
export type Text = typeof en

/** The texts in the language that is chosen now. */
export const t = (): Text => (lang.value === 'zh-CN' ? zh : en)
