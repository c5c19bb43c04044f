// Creating a key or a v2 directory. A key that exists already is not overwritten.

import { useRef, useState } from 'preact/hooks'
import { put, v2Set, type Version } from '../../api/keys.ts'
import { ApiError } from '../../api/call.ts'
import { session } from '../../api/session.ts'
import { type Bytes, fromText, parse, show, toText } from '../../lib/bytes.ts'
import { count } from '../../lib/format.ts'
import { t } from '../../text/index.ts'
import { Dialog } from '../../ui/dialog.tsx'
import { Failure, Tabs } from '../../ui/parts.tsx'
import { done } from '../../ui/toast.tsx'
import { Conflict } from './edit.tsx'

interface CreateProps {
  /** The beginning of the key. */
  prefix: Bytes
  onClose: (created: Bytes | null) => void
}

type Ends = 'never' | 'ttl' | 'lease'

const isPath = (key: Bytes): boolean => /^(\/[^/]+)+$/.test(key) && toText(key) !== null

export function Create({ prefix, onClose }: CreateProps) {
  const [kind, setKind] = useState<'key' | 'dir'>('key')
  const [name, setName] = useState(show(prefix))
  const [value, setValue] = useState('')
  const [ends, setEnds] = useState<Ends>('never')
  const [ttl, setTtl] = useState('60')
  const [lease, setLease] = useState('')
  const [error, setError] = useState<unknown>(null)
  const [conflict, setConflict] = useState<Version | null>(null)
  const field = useRef<HTMLInputElement>(null)
  const key = parse(name)
  const seconds = Number(ttl)
  const leaseId = /^[0-9a-fA-F]{1,16}$/.test(lease.trim()) ? BigInt.asIntN(64, BigInt('0x' + lease.trim())).toString() : null
  const needsPath = kind === 'dir' || ends === 'ttl'
  const directory = key.endsWith('/') ? key.slice(0, -1) : key
  const valid =
    key !== '' &&
    (!needsPath || isPath(kind === 'dir' ? directory : key)) &&
    (ends !== 'ttl' || (Number.isInteger(seconds) && seconds > 0)) &&
    (kind === 'dir' || ends !== 'lease' || leaseId !== null)

  const create = async (ifMod = 0) => {
    if (!valid) return
    setError(null)
    try {
      if (kind === 'dir') {
        await v2Set({ key: directory, dir: true, ttl: ends === 'ttl' ? seconds : -1, prevExist: false })
        return onClose(directory + '/')
      }
      if (ends === 'ttl') {
        await v2Set({ key, value: fromText(value), dir: false, ttl: seconds, prevExist: ifMod ? null : false })
        return onClose(key)
      }
      const outcome = await put(key, fromText(value), ifMod, ends === 'lease' ? leaseId! : '0')
      if (!outcome.done) return setConflict(outcome.current)
      done(t().keys.saved(count(outcome.revision)))
      onClose(key)
    } catch (e) {
      setError(e instanceof ApiError && e.code === 9 ? new Error(t().conflict.exists) : e)
    }
  }
  const c = t().createKey
  if (conflict) {
    return (
      <Conflict
        creating
        mine={fromText(value)}
        current={conflict}
        onEdit={() => setConflict(null)}
        onTake={() => onClose(key)}
        onOverwrite={() => {
          setConflict(null)
          void create(conflict.mod)
        }}
      />
    )
  }
  return (
    <Dialog
      title={c.title}
      onClose={() => onClose(null)}
      onSubmit={() => void create()}
      foot={
        <>
          <button type="button" class="button" onClick={() => onClose(null)}>
            {t().cancel}
          </button>
          <button class="button primary" disabled={!valid}>
            {t().create}
          </button>
        </>
      }
    >
      {session.value?.v2 !== false && (
        <div>
          <Tabs
            label={c.kind}
            tabs={[
              ['key', c.key],
              ['dir', c.dir],
            ]}
            at={kind}
            onChange={setKind}
          />
        </div>
      )}
      <label class="field">
        <span>{c.name}</span>
        <input ref={field} class="input mono" name="key" autocomplete="off" spellcheck={false} value={name} onInput={(e) => setName(e.currentTarget.value)} autofocus />
        <span class="hint">{needsPath && kind === 'key' && !isPath(key) ? c.v2Path : kind === 'dir' ? c.dirHint : c.nameHint}</span>
      </label>
      {kind === 'key' && (
        <label class="field">
          <span>{c.value}</span>
          <textarea class="input" name="value" rows={6} spellcheck={false} value={value} onInput={(e) => setValue(e.currentTarget.value)} />
        </label>
      )}
      <div class="row">
        <label class="field">
          <span>{c.ends}</span>
          <select class="input" name="ends" value={ends} onChange={(e) => setEnds(e.currentTarget.value as Ends)}>
            <option value="never">{c.never}</option>
            {session.value?.v2 !== false && <option value="ttl">{c.ttl}</option>}
            {kind === 'key' && <option value="lease">{c.lease}</option>}
          </select>
        </label>
        {ends === 'ttl' && (
          <label class="field">
            <span>{c.seconds}</span>
            <input class="input" name="ttl" type="number" min="1" value={ttl} onInput={(e) => setTtl(e.currentTarget.value)} />
          </label>
        )}
        {ends === 'lease' && kind === 'key' && (
          <label class="field grow">
            <span>{c.leaseId}</span>
            <input class="input mono" name="lease" autocomplete="off" value={lease} onInput={(e) => setLease(e.currentTarget.value)} placeholder="694d7…" />
            <span class="hint">{c.noLease}</span>
          </label>
        )}
      </div>
      {error ? <Failure e={error} /> : null}
    </Dialog>
  )
}
