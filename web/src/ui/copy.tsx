// A button that copies a text.

import { t } from '../text/index.ts'
import { Icon } from './icons.tsx'
import { done, failed } from './toast.tsx'

/** Nothing where the browser has no clipboard: on pages of another machine without TLS. */
export function Copy({ text }: { text: string }) {
  if (!navigator.clipboard) return null
  const copy = () => void navigator.clipboard.writeText(text).then(() => done(t().copied), failed)
  return (
    <button type="button" class="button plain icon" aria-label={t().copy} title={t().copy} onClick={copy}>
      <Icon name="copy" />
    </button>
  )
}
