// A range of keys, as people say it.

import type { Permission } from '../../api/access.ts'
import { type Bytes, prefixEnd, show } from '../../lib/bytes.ts'
import { t } from '../../text/index.ts'

export function Range({ start, end }: { start: Bytes; end: Bytes }) {
  const a = t().access
  if (end === '\0') return start === '\0' || start === '' ? <>{a.everything}</> : <bdi class="key">{a.from(show(start))}</bdi>
  if (end === '') return <bdi class="key">{show(start)}</bdi>
  if (end === prefixEnd(start)) return <bdi class="key">{show(start)}*</bdi>
  return (
    <bdi class="key">
      [{show(start)}, {show(end)})
    </bdi>
  )
}

export const PermissionText = ({ p }: { p: Permission }) => (
  <>
    <b>{t().access.kinds[p.kind]}</b> <Range start={p.key} end={p.end} />
  </>
)
