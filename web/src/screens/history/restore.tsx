// Writing a past value again, by compare-and-swap against what is stored now.

import { useState } from 'preact/hooks'
import { put, read } from '../../api/keys.ts'
import type { Bytes } from '../../lib/bytes.ts'
import { count } from '../../lib/format.ts'
import { t } from '../../text/index.ts'
import { Confirm } from '../../ui/confirm.tsx'
import { DiffView } from '../../ui/diff.tsx'
import { useLoad } from '../../ui/load.ts'
import { Failure, Key } from '../../ui/parts.tsx'
import { done } from '../../ui/toast.tsx'

interface RestoreProps {
  k: Bytes
  value: Bytes
  /** The revision that the value is of. */
  revision: number
  onClose: (done: boolean) => void
}

export function Restore({ k, value, revision, onClose }: RestoreProps) {
  const [turn, setTurn] = useState(0)
  const now = useLoad(async (stop) => ({ version: await read(k, 0, stop) }), [turn])
  const current = now.data?.version
  const run = async () => {
    const outcome = await put(k, value, current?.mod ?? 0, current?.lease ?? '0')
    if (!outcome.done) {
      setTurn(turn + 1)
      throw new Error(t().conflict.title)
    }
    done(t().history.restored(count(outcome.revision)))
  }
  return (
    <Confirm title={t().history.restoreTitle} action={t().history.restore} danger={false} refused={!now.data} run={run} onClose={onClose}>
      <p class="wrap">
        <Key k={k} />
      </p>
      <p>{t().history.restoreText(count(revision))}</p>
      {now.error ? <Failure e={now.error} /> : null}
      {now.data && (
        <div class="boxed">
          <DiffView left={current?.value ?? null} right={value} leftTitle={t().conflict.theirs} rightTitle={t().keys.asOf(count(revision))} />
        </div>
      )}
    </Confirm>
  )
}
