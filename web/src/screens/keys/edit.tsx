// Editing a value. It is written by compare-and-swap: when another client has written the key
// meanwhile, nothing is overwritten, and both versions are shown side by side.

import { useEffect, useRef, useState } from 'preact/hooks'
import { put, type Version } from '../../api/keys.ts'
import type { Bytes } from '../../lib/bytes.ts'
import { count } from '../../lib/format.ts'
import { compact, isCompact, isJson, layOut } from '../../lib/json.ts'
import { guard, leave, pending, proceed, stay } from '../../lib/unsaved.ts'
import { t } from '../../text/index.ts'
import { Code } from '../../ui/code.tsx'
import { Dialog } from '../../ui/dialog.tsx'
import { DiffView } from '../../ui/diff.tsx'
import type { Editor } from '../../ui/editor.ts'
import { done, failed } from '../../ui/toast.tsx'
import { draftOf, type Form } from './forms.ts'

interface EditProps {
  version: Version
  form: Form
  /** The editor closes, at the latest when this has ended; changed when the stored version is
   * another one now. */
  onClose: (changed: boolean) => Promise<void>
}

export function Edit({ version, form, onClose }: EditProps) {
  const [draft] = useState(() => draftOf(version.value, form))
  const [problem, setProblem] = useState('')
  const [conflict, setConflict] = useState<{ mine: Bytes; current: Version | null } | null>(null)
  const [saving, setSaving] = useState(false)
  const editor = useRef<Editor | null>(null)
  const ended = useRef(false)
  const dirty = () => !ended.current && editor.current !== null && editor.current.text() !== draft.text
  const end = () => {
    ended.current = true
    return onClose(true)
  }

  const save = async (ifMod = version.mod, lease = version.lease) => {
    const value = draft.value(editor.current?.text() ?? draft.text)
    if (value === null) {
      setProblem(draft.json ? t().keys.badJson : t().keys.badHex)
      return
    }
    setSaving(true)
    editor.current?.lock(true) // what is typed now would be lost when the editor closes
    try {
      const outcome = await put(version.key, value, ifMod, lease)
      if (outcome.done) {
        await end()
        done(t().keys.saved(count(outcome.revision)))
        return
      }
      setConflict({ mine: value, current: outcome.current })
    } catch (e) {
      failed(e)
    }
    editor.current?.lock(false)
    setSaving(false)
  }

  const cancel = () => leave(() => void onClose(false))
  useEffect(() => guard(dirty), [])

  const layout = () => {
    const text = editor.current?.text() ?? ''
    if (isJson(text)) editor.current?.setText(isCompact(text) ? layOut(text) : layOut(compact(text)))
  }
  return (
    <div class="value">
      <div class="detail-tools">
        <button class="button primary" disabled={saving} onClick={() => void save()}>
          {t().save}
        </button>
        <button class="button" onClick={cancel}>
          {t().cancel}
        </button>
        {draft.json && (
          <button class="button" onClick={layout}>
            {t().keys.format}
          </button>
        )}
        <span class="grow" />
        <span class="faint">
          <kbd>Ctrl</kbd> <kbd>S</kbd>
        </span>
      </div>
      {problem && (
        <div class="problem" role="alert">
          {problem}
        </div>
      )}
      <Code
        text={draft.text}
        json={draft.json}
        readOnly={false}
        label={t().keys.value}
        editor={editor}
        focus
        onChange={() => setProblem(draft.json && editor.current && editor.current.text().length < 1 << 18 && !isJson(editor.current.text()) ? t().keys.badJson : '')}
        onSave={() => void save()}
        onEscape={cancel}
      />
      {pending.value && (
        <Dialog
          title={t().keys.edit}
          onClose={stay}
          onSubmit={proceed}
          foot={
            <>
              <button type="button" class="button" onClick={stay}>
                {t().conflict.edit}
              </button>
              <button class="button danger primary">{t().keys.discard}</button>
            </>
          }
        >
          <p>{t().keys.unsaved}</p>
        </Dialog>
      )}
      {conflict && (
        <Conflict
          mine={conflict.mine}
          current={conflict.current}
          onEdit={() => setConflict(null)}
          onTake={() => void end()}
          onOverwrite={() => {
            setConflict(null)
            void save(conflict.current?.mod ?? 0, conflict.current?.lease ?? '0')
          }}
        />
      )}
    </div>
  )
}

interface ConflictProps {
  mine: Bytes
  current: Version | null
  /** The key was to be created. */
  creating?: boolean
  onEdit: () => void
  onTake: () => void
  onOverwrite: () => void
}

/** The version that another client has stored, beside the one that was not stored. */
export function Conflict({ mine, current, creating, onEdit, onTake, onOverwrite }: ConflictProps) {
  const c = t().conflict
  return (
    <Dialog
      wide
      title={c.title}
      onClose={onEdit}
      foot={
        <>
          <button type="button" class="button" onClick={onEdit}>
            {c.edit}
          </button>
          <button type="button" class="button" onClick={onTake}>
            {c.take}
          </button>
          <button type="button" class="button danger" onClick={onOverwrite}>
            {c.overwrite}
          </button>
        </>
      }
    >
      <p class="note warn">{current === null ? c.deleted : creating ? c.exists : c.explain(count(current.mod))}</p>
      <div class="boxed">
        <DiffView left={current?.value ?? null} right={mine} leftTitle={c.theirs} rightTitle={c.mine} />
      </div>
    </Dialog>
  )
}
