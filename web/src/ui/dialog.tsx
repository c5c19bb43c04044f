// Dialogs: the browser's own, which keep the focus inside, close at Escape, and cover the rest.

import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { t } from '../text/index.ts'
import { Icon } from './icons.tsx'

interface DialogProps {
  title: string
  onClose: () => void
  children: ComponentChildren
  /** The buttons at the end. */
  foot?: ComponentChildren
  wide?: boolean
  /** Runs at Enter in a field, and at a button of type submit. */
  onSubmit?: () => void
}

export function Dialog({ title, onClose, children, foot, wide, onSubmit }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const before = document.activeElement
    ref.current?.showModal()
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus()
    }
  }, [])
  return (
    <dialog
      ref={ref}
      class={wide ? 'wide' : undefined}
      aria-labelledby={id}
      onCancel={(e) => {
        e.preventDefault()
        onClose()
      }}
    >
      <form
        onSubmit={(e) => {
          e.preventDefault()
          onSubmit?.()
        }}
      >
        <div class="dialog-head">
          <h2 id={id} class="grow">
            {title}
          </h2>
          <button type="button" class="button plain icon" aria-label={t().close} onClick={onClose}>
            <Icon name="close" />
          </button>
        </div>
        <div class="dialog-body">{children}</div>
        {foot && <div class="dialog-foot">{foot}</div>}
      </form>
    </dialog>
  )
}
