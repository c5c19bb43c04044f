// Deleting keys: they are counted first, and their number is typed to confirm.

import { useEffect, useState } from 'preact/hooks'
import { countPrefix, deleteKey, deletePrefix, v2Delete } from '../../api/keys.ts'
import type { Bytes } from '../../lib/bytes.ts'
import { count } from '../../lib/format.ts'
import { t } from '../../text/index.ts'
import { Word } from '../../ui/confirm.tsx'
import { Dialog } from '../../ui/dialog.tsx'
import { Failure, Key } from '../../ui/parts.tsx'
import { done, failed } from '../../ui/toast.tsx'

/** The target of a deletion: a key in the version that was seen, all keys with a prefix, or a v2
 * directory with everything below it. */
export type Target = { kind: 'key'; key: Bytes; mod: number } | { kind: 'prefix'; key: Bytes } | { kind: 'dir'; key: Bytes }

interface RemoveProps {
  targets: Target[]
  onClose: (changed: boolean) => void
}

export function Remove({ targets, onClose }: RemoveProps) {
  const [total, setTotal] = useState<number | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [typed, setTyped] = useState('')
  const [working, setWorking] = useState(false)
  useEffect(() => {
    Promise.all(targets.map((x) => (x.kind === 'key' ? 1 : countPrefix(x.key)))).then(
      (counts) => setTotal(counts.reduce((a, b) => a + b, 0)),
      setError,
    )
  }, [])
  const confirmed = total !== null && typed.trim() === String(total)
  const run = async () => {
    if (!confirmed || working) return
    setWorking(true)
    let deleted = 0
    let changed = false
    try {
      for (const x of targets) {
        if (x.kind === 'prefix') deleted += await deletePrefix(x.key)
        else if (x.kind === 'dir') {
          const below = await countPrefix(x.key)
          await v2Delete(x.key.slice(0, -1), true, true)
          deleted += below
        } else if ((await deleteKey(x.key, x.mod)).done) deleted++
        else changed = true
      }
      if (changed) failed(t().deletion.changed)
      else done(t().deletion.done(count(deleted), deleted))
    } catch (e) {
      failed(e)
    }
    onClose(true)
  }
  const only = targets.length === 1 ? targets[0] : null
  const n = total === null ? '…' : count(total)
  const heading = !only ? t().deletion.several : only.kind === 'prefix' ? t().deletion.prefix : null
  return (
    <Dialog
      title={t().deletion.title}
      onClose={() => onClose(false)}
      onSubmit={() => void run()}
      foot={
        <>
          <button type="button" class="button" onClick={() => onClose(false)}>
            {t().cancel}
          </button>
          <button class="button danger primary" disabled={!confirmed || working}>
            {t().delete}
          </button>
        </>
      }
    >
      {error ? <Failure e={error} /> : null}
      <p>{heading ? heading(n, total ?? 0) : only?.kind === 'dir' ? t().deletion.dir : t().deletion.one}</p>
      <ul class="targets">
        {targets.slice(0, 12).map((x) => (
          <li key={x.key} class="wrap">
            <Key k={x.key} />
          </li>
        ))}
        {targets.length > 12 && <li class="faint">… +{count(targets.length - 12)}</li>}
      </ul>
      <p class="soft">{t().deletion.watchers}</p>
      {total !== null ? <Word word={String(total)} typed={typed} onType={setTyped} /> : !error && <p class="faint">{t().deletion.counting}</p>}
    </Dialog>
  )
}
