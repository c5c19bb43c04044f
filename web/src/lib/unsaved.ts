// Guards an edit that was not saved: whatever would end it asks first.

import { signal } from '@preact/signals'

/** Whether the open editor has changes that were not saved; null while no editor is open. */
let isDirty: (() => boolean) | null = null

/** What the user wants to do although an edit was not saved; the editor asks about it. */
export const pending = signal<(() => void) | null>(null)

/** Guards an edit until the returned function is called, also when the page is closed. */
export function guard(dirty: () => boolean): () => void {
  const warn = (e: BeforeUnloadEvent) => {
    if (isDirty === dirty && dirty()) e.preventDefault()
  }
  isDirty = dirty
  addEventListener('beforeunload', warn)
  return () => {
    removeEventListener('beforeunload', warn)
    if (isDirty === dirty) isDirty = null
  }
}

/** Runs an action that ends the edit: at once, or when the user has agreed to lose the changes.
 * Reports whether it has run. */
export function leave(action: () => void): boolean {
  if (isDirty?.()) {
    pending.value = action
    return false
  }
  action()
  return true
}

/** The user keeps the edit. */
export function stay(): void {
  pending.value = null
}

/** Drops the changes. */
export function discard(): void {
  pending.value = null
  isDirty = null
}

/** Drops the changes, and runs the action that has waited for that. */
export function proceed(): void {
  const action = pending.value
  discard()
  action?.()
}
