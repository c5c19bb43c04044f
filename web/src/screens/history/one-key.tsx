// The revisions of a key on a line of time, and the differences between any two of them.

import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { type Change, history } from '../../api/history.ts'
import { read } from '../../api/keys.ts'
import { mayWrite, session } from '../../api/session.ts'
import { type Bytes, parse, show } from '../../lib/bytes.ts'
import { clock, count, moment, size } from '../../lib/format.ts'
import { register } from '../../lib/keyboard.ts'
import { openKey } from '../../lib/route.ts'
import { t } from '../../text/index.ts'
import { DiffView } from '../../ui/diff.tsx'
import { Empty, Failure, Key } from '../../ui/parts.tsx'
import { failed } from '../../ui/toast.tsx'
import { Restore } from './restore.tsx'

export function OneKey({ tabs }: { tabs: ComponentChildren }) {
  const key = openKey.value
  const [typed, setTyped] = useState(key === null ? '' : show(key))
  return (
    <>
      <div class="toolbar">
        {tabs}
        <form
          class="row grow"
          onSubmit={(e) => {
            e.preventDefault()
            if (typed !== '') openKey.value = parse(typed)
          }}
        >
          <input
            class="input mono grow key-input"
            name="key"
            autocomplete="off"
            spellcheck={false}
            aria-label={t().history.keyHint}
            placeholder={t().history.key}
            value={typed}
            onInput={(e) => setTyped(e.currentTarget.value)}
          />
          <button class="button">{t().history.show}</button>
        </form>
      </div>
      {key === null ? <Empty>{t().history.choose}</Empty> : <Revisions key={key} k={key} />}
    </>
  )
}

/** The id in the place of a change when a value is compared with nothing. */
const nothing = 'nothing'

function Revisions({ k }: { k: Bytes }) {
  const [changes, setChanges] = useState<Change[] | null>(null)
  const [compacted, setCompacted] = useState(0)
  const [more, setMore] = useState(false)
  const [error, setError] = useState<unknown>(null)
  /** The ids of the changes that are compared; '' for the newest one, and for the one before it. */
  const [after, setAfter] = useState('')
  const [before, setBefore] = useState('')
  const [restoring, setRestoring] = useState<Bytes | null>(null)

  /** Loads the newest changes, or those older than all that are loaded. */
  const load = async (older: boolean) => {
    const known = changes ?? []
    try {
      const page = await history(k, older ? (known.at(-1)?.mod ?? 0) : 0)
      const end = page.changes.at(-1)?.mod ?? 0
      const connected = !page.more || page.changes.some((c) => c.id === known[0]?.id)
      const rest = older || !connected ? [] : known.filter((c) => c.mod < end && c.mod >= page.compacted)
      setChanges([...(older ? known : []), ...page.changes, ...rest])
      setCompacted(page.compacted)
      if (older || rest.length === 0) setMore(page.more && page.changes.length > 0)
      setError(null)
    } catch (e) {
      setError(e)
    }
  }
  // Other clients have written when the session's revision has changed.
  const revision = session.value!.revision
  useEffect(() => void load(false), [revision])
  const length = changes?.length ?? 0
  const indexOf = (id: string) => changes?.findIndex((c) => c.id === id) ?? -1
  const to = Math.max(0, indexOf(after))
  const from = before === nothing ? length : indexOf(before) >= 0 && before !== after ? indexOf(before) : to + 1
  const choose = (i: number) => {
    if (i < 0 || i >= length) return
    setAfter(i === 0 ? '' : changes![i].id)
    setBefore('')
  }
  const compareWith = (i: number) => setBefore(changes?.[i]?.id ?? nothing)
  useEffect(
    () =>
      register(
        () => t().history.title,
        [
          { keys: ['j', 'ArrowDown'], help: () => t().commands.down, run: () => choose(to + 1) },
          { keys: ['k', 'ArrowUp'], help: () => t().commands.up, run: () => choose(to - 1) },
          { keys: ['o'], help: () => t().commands.older, run: () => compareWith(from + 1) },
          { keys: ['r'], help: () => t().commands.refresh, run: () => void load(false) },
        ],
      ),
    [to, from, length],
  )
  if (error && !changes) return <Failure e={error} retry={() => void load(false)} />
  if (!changes) return <Empty>{t().loading}</Empty>
  if (length === 0) return <Empty>{t().history.none}</Empty>
  const chosen = changes[to]
  return (
    <div class="revisions">
      <nav class="timeline" aria-label={t().history.title}>
        {error ? <Failure e={error} retry={() => void load(false)} /> : null}
        <p class="faint pad">
          <Key k={k} /> · {t().history.kept(count(length), length)}
        </p>
        <ol>
          {changes.map((c, i) => (
            <Mark key={c.id} change={c} chosen={i === to} base={i === from} onChoose={() => choose(i)} />
          ))}
        </ol>
        {more && (
          <button class="button pad" onClick={() => void load(true)}>
            {t().history.more}
          </button>
        )}
        {compacted > 0 && !more && <p class="faint pad">{t().history.compacted(count(compacted))}</p>}
      </nav>
      <section class="compare" aria-label={t().history.from}>
        <div class="detail-tools">
          <label class="inline-field">
            {t().history.from}
            <select class="input" name="from" value={from} onChange={(e) => compareWith(Number(e.currentTarget.value))}>
              {changes.map((c, i) => i !== to && <option value={i}>{count(c.mod)}</option>)}
              <option value={length}>{t().none}</option>
            </select>
          </label>
          <span class="soft">
            {t().history.to} <b>{count(chosen.mod)}</b>
          </span>
          <span class="grow" />
          {chosen.type === 'put' && to !== 0 && mayWrite(k) && <RestoreButton k={k} change={chosen} onValue={setRestoring} />}
        </div>
        <Compare k={k} before={changes[from]} after={chosen} />
      </section>
      {restoring !== null && (
        <Restore
          k={k}
          value={restoring}
          revision={chosen.mod}
          onClose={(done) => {
            setRestoring(null)
            if (!done) return
            choose(0)
            void load(false)
          }}
        />
      )}
    </div>
  )
}

interface MarkProps {
  change: Change
  chosen: boolean
  base: boolean
  onChoose: () => void
}

function Mark({ change: c, chosen, base, onChoose }: MarkProps) {
  const time = c.before || c.after
  return (
    <li>
      <button class={`mark ${c.type}${base ? ' base' : ''}`} aria-current={chosen} onClick={onChoose}>
        <span class="dot" />
        <span class="mark-main">
          <b>{count(c.mod)}</b>
          <span class="tag">{c.expired ? t().history.expired : c.action || (c.type === 'put' ? t().history.put : t().history.delete)}</span>
        </span>
        <span class="faint">
          {c.type === 'put' ? `${size(c.size)} · v${c.version}` : ''}
          {time && ` · ≈ ${timeOf(new Date(time))}`}
        </span>
      </button>
    </li>
  )
}

/** A time of today, or with its day. */
const timeOf = (d: Date): string => (d.toDateString() === new Date().toDateString() ? clock(d) : moment(d))

const valueOf = async (k: Bytes, c: Change | undefined): Promise<Bytes | null> =>
  !c || c.value === null ? null : (c.value ?? (await read(k, c.mod))?.value ?? null)

function Compare({ k, before, after }: { k: Bytes; before: Change | undefined; after: Change }) {
  const [values, setValues] = useState<{ for: string; left: Bytes | null; right: Bytes | null } | null>(null)
  const name = `${before?.id} ${after.id}`
  useEffect(() => {
    let left = false
    Promise.all([valueOf(k, before), valueOf(k, after)]).then(([l, r]) => {
      if (!left) setValues({ for: name, left: l, right: r })
    }, failed)
    return () => {
      left = true
    }
  }, [name])
  if (values?.for !== name) return <Empty>{t().loading}</Empty>
  const title = (c: Change | undefined) => (c ? `${count(c.mod)}${c.type === 'delete' ? ' · ' + t().history.deleted : ''}` : t().none)
  return <DiffView left={values.left} right={values.right} leftTitle={t().history.before(title(before))} rightTitle={t().history.after(title(after))} />
}

function RestoreButton({ k, change, onValue }: { k: Bytes; change: Change; onValue: (v: Bytes) => void }) {
  return (
    <button
      class="button"
      onClick={() =>
        void valueOf(k, change).then((v) => {
          if (v !== null) onValue(v)
        }, failed)
      }
    >
      {t().history.restore}
    </button>
  )
}
