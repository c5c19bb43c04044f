// A key: what is known of it, and its value.

import { useEffect, useRef, useState } from 'preact/hooks'
import { stopped } from '../../api/call.ts'
import { read, type Version } from '../../api/keys.ts'
import { mayWrite } from '../../api/session.ts'
import { type Bytes, show, toText } from '../../lib/bytes.ts'
import { count, size } from '../../lib/format.ts'
import { register } from '../../lib/keyboard.ts'
import { t } from '../../text/index.ts'
import { Copy } from '../../ui/copy.tsx'
import type { Editor } from '../../ui/editor.ts'
import { Icon } from '../../ui/icons.tsx'
import { Empty, Failure, Key, Left, Tabs } from '../../ui/parts.tsx'
import { Edit } from './edit.tsx'
import { type Form, formsOf } from './forms.ts'
import { leaseName } from './list.tsx'
import { Value } from './value.tsx'

interface DetailProps {
  k: Bytes
  /** As of which revision; 0 is now. */
  revision: number
  /** When the key ends, in ms; 0 when it does not. */
  ends: number
  onClose: () => void
  onChanged: () => void
  onDelete: (version: Version) => void
  onHistory: () => void
  onRestore?: (version: Version) => void
  /** Changes when the value must be read again. */
  again: number
}

export function Detail(props: DetailProps) {
  const { k, revision, again } = props
  const [version, setVersion] = useState<Version | null | undefined>(undefined)
  const [error, setError] = useState<unknown>(null)
  const [turn, setTurn] = useState(0)
  /** The key whose value is edited: the version that was opened stays, whatever others write. */
  const [edited, setEdited] = useState<Bytes | null>(null)
  const editing = edited === k
  useEffect(() => {
    if (editing) return
    const stop = new AbortController()
    read(k, revision, stop.signal).then(
      (v) => {
        setVersion(v)
        setError(null)
      },
      (e) => {
        if (!stopped(e)) setError(e)
      },
    )
    return () => stop.abort()
  }, [k, revision, again, turn, editing])
  const close = async (changed: boolean) => {
    if (!changed) return setEdited(null)
    props.onChanged()
    try {
      // The editor stays until the version that is stored now takes its place.
      setVersion(await read(k))
    } catch (e) {
      setError(e)
    }
    setEdited(null)
  }
  const current = version && version.key === k ? version : version === null ? null : undefined
  return (
    <section class="side" aria-label={show(k)}>
      <div class="detail-head">
        <button class="button plain icon" aria-label={t().keys.back} onClick={props.onClose}>
          <Icon name="left" />
        </button>
        <h2 class="grow wrap">
          <Key k={k} />
        </h2>
        <Copy text={toText(k) ?? show(k)} />
      </div>
      {error ? <Failure e={error} retry={() => setTurn(turn + 1)} /> : null}
      {current === null && <Empty>{t().keys.gone}</Empty>}
      {current && <Shown {...props} version={current} key={`${k} ${current.mod}`} editing={editing} onEdit={() => setEdited(k)} onEdited={close} />}
    </section>
  )
}

interface ShownProps extends DetailProps {
  version: Version
  editing: boolean
  onEdit: () => void
  onEdited: (changed: boolean) => Promise<void>
}

function Shown({ version, ends, revision, editing, onEdit, onEdited, ...props }: ShownProps) {
  const [forms] = useState(() => formsOf(version.value))
  const [form, setForm] = useState<Form>(forms[0])
  const editor = useRef<Editor | null>(null)
  const may = revision === 0 && mayWrite(version.key)
  useEffect(
    () =>
      register(
        () => t().keys.value,
        [
          { keys: ['e'], help: () => t().commands.edit, run: () => may && onEdit() },
          { keys: ['h'], help: () => t().commands.history, run: props.onHistory },
        ],
      ),
    [may, props.onHistory],
  )
  const names = { text: t().keys.text, json: t().keys.json, hex: t().keys.hex, kube: t().keys.kube }
  return (
    <>
      <dl class="facts-list">
        <Fact name={t().keys.size} value={size(version.value.length)} />
        <Fact name={t().keys.version} value={count(version.version)} />
        <Fact name={t().keys.mod} value={count(version.mod)} />
        <Fact name={t().keys.created} value={count(version.create)} />
        {version.lease !== '0' && <Fact long name={t().keys.lease} value={leaseName(version.lease)} />}
        {ends > 0 && (
          <div>
            <dt>{t().keys.ttl}</dt>
            <dd>
              <Left ends={ends} />
            </dd>
          </div>
        )}
      </dl>
      {editing ? (
        <Edit version={version} form={form} onClose={onEdited} />
      ) : (
        <div class="value">
          <div class="detail-tools">
            {forms.length > 1 && <Tabs label={t().keys.form} tabs={forms.map((f) => [f, names[f]] as const)} at={form} onChange={setForm} />}
            {form === 'json' && (
              <>
                <button class="button plain" onClick={() => editor.current?.fold()}>
                  {t().keys.fold}
                </button>
                <button class="button plain" onClick={() => editor.current?.unfold()}>
                  {t().keys.unfold}
                </button>
              </>
            )}
            <span class="grow" />
            {may && (
              <button class="button" onClick={onEdit}>
                <Icon name="edit" />
                {t().keys.edit}
              </button>
            )}
            <button class="button" onClick={props.onHistory}>
              <Icon name="history" />
              {t().keys.history}
            </button>
            {may && (
              <button class="button danger icon" aria-label={t().delete} onClick={() => props.onDelete(version)}>
                <Icon name="trash" />
              </button>
            )}
            {props.onRestore && (
              <button class="button primary" onClick={() => props.onRestore!(version)}>
                {t().history.restore}
              </button>
            )}
          </div>
          <Value value={version.value} form={form} editor={editor} />
        </div>
      )}
    </>
  )
}

const Fact = ({ name, value, long }: { name: string; value: string; long?: boolean }) => (
  <div class={long ? 'long' : undefined}>
    <dt>{name}</dt>
    <dd>{value}</dd>
  </div>
)
