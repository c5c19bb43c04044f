// Two texts side by side, with their differences marked.

import { useMemo } from 'preact/hooks'
import { type Bytes, toText } from '../lib/bytes.ts'
import { diff, type DiffRow } from '../lib/diff.ts'
import { isCompact, isJsonDocument, layOut } from '../lib/json.ts'
import { hexText } from '../screens/keys/forms.ts'
import { t } from '../text/index.ts'
import { Virtual } from './virtual.tsx'

/** A value as lines that can be compared: JSON laid out, text as it is, others as hex. */
export function linesOf(value: Bytes | null): string {
  if (value === null) return ''
  const text = toText(value)
  if (text === null) return hexText(value)
  return isJsonDocument(text) && isCompact(text) ? layOut(text) : text
}

interface DiffProps {
  left: Bytes | null
  right: Bytes | null
  leftTitle: string
  rightTitle: string
}

export function DiffView({ left, right, leftTitle, rightTitle }: DiffProps) {
  const rows = useMemo(() => diff(linesOf(left), linesOf(right)), [left, right])
  return (
    <>
      <div class="diff-heads">
        <span>{leftTitle}</span>
        <span>{rightTitle}</span>
      </div>
      <Virtual
        class="diff"
        length={rows.length}
        rowHeight={20}
        attrs={{ tabIndex: 0, role: 'region', 'aria-label': `${leftTitle}, ${rightTitle}` }}
        row={(i) => <Pair key={i} row={rows[i]} />}
      />
      {left === right && <div class="note">{t().history.equal}</div>}
    </>
  )
}

// Only what is seen of a long line is in the document.
const lineMax = 2000
const cut = (text: string): string => (text.length > lineMax ? text.slice(0, lineMax) + '…' : text)

function Pair({ row }: { row: DiffRow }) {
  const side = (line: number | undefined, text: string | undefined, mark: string) => (
    <div class={'diff-side ' + (text === undefined ? 'blank' : row.kind === 'same' ? '' : mark)}>
      <span>{line ?? ''}</span>
      <bdi>{text === undefined ? '' : cut(text)}</bdi>
    </div>
  )
  return (
    <div class="diff-row">
      {side(row.leftLine, row.left, 'left')}
      {side(row.rightLine, row.right, 'right')}
    </div>
  )
}
