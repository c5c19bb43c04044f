// A dangerous action: what it will do is said first, and a word is typed to confirm it.

import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { t } from '../text/index.ts'
import { Dialog } from './dialog.tsx'
import { Failure } from './parts.tsx'

interface ConfirmProps {
  title: string
  children: ComponentChildren
  /** The word to type; without one the button suffices. */
  word?: string
  action: string
  /** The action cannot be taken now. */
  refused?: boolean
  danger?: boolean
  run: () => Promise<unknown>
  onClose: (done: boolean) => void
}

export function Confirm({ title, children, word, action, refused, danger = true, run, onClose }: ConfirmProps) {
  const [typed, setTyped] = useState('')
  const [working, setWorking] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const ready = !refused && !working && (word === undefined || typed.trim() === word)
  const submit = async () => {
    if (!ready) return
    setWorking(true)
    setError(null)
    try {
      await run()
      onClose(true)
    } catch (e) {
      setError(e)
      setWorking(false)
    }
  }
  return (
    <Dialog
      title={title}
      onClose={() => onClose(false)}
      onSubmit={() => void submit()}
      foot={
        <>
          <button type="button" class="button" onClick={() => onClose(false)}>
            {t().cancel}
          </button>
          <button class={danger ? 'button danger primary' : 'button primary'} disabled={!ready}>
            {action}
          </button>
        </>
      }
    >
      {children}
      {word !== undefined && !refused && (
        <Word word={word} typed={typed} onType={setTyped} />
      )}
      {error ? <Failure e={error} /> : null}
    </Dialog>
  )
}

interface WordProps {
  word: string
  typed: string
  onType: (text: string) => void
}

/** The field in which a word is typed to confirm an action. It takes the focus from the buttons. */
export function Word({ word, typed, onType }: WordProps) {
  const field = useRef<HTMLInputElement>(null)
  useEffect(() => {
    if (!(document.activeElement instanceof HTMLInputElement)) field.current?.focus()
  }, [])
  return (
    <label class="field">
      <span>{t().deletion.type(word)}</span>
      <input ref={field} class="input" name="confirm" autocomplete="off" spellcheck={false} autofocus value={typed} onInput={(e) => onType(e.currentTarget.value)} />
    </label>
  )
}
