// A value in an editor, to read or to change.

import type { RefObject } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { t } from '../text/index.ts'
import type { Editor, EditorOptions } from './editor.ts'
import { failed } from './toast.tsx'

type CodeProps = EditorOptions & {
  /** Receives the editor when it is there. */
  editor?: RefObject<Editor | null>
  focus?: boolean
}

export function Code({ editor, focus, ...options }: CodeProps) {
  const host = useRef<HTMLDivElement>(null)
  const latest = useRef(options)
  latest.current = options
  useEffect(() => {
    let made: Editor | null = null
    let left = false
    void import('./editor.ts').then(({ createEditor }) => {
      if (left || !host.current) return
      made = createEditor(host.current, {
        ...options,
        onChange: () => latest.current.onChange?.(),
        onSave: options.onSave && (() => latest.current.onSave?.()),
        onEscape: options.onEscape && (() => latest.current.onEscape?.()),
      })
      if (editor) editor.current = made
      if (focus) made.focus()
      host.current.dataset.ready = ''
    }, () => failed(t().partMissing))
    return () => {
      left = true
      made?.destroy()
      if (editor) editor.current = null
    }
  }, [options.text, options.json, options.readOnly])
  return <div ref={host} class="editor" data-typing={options.readOnly ? undefined : ''} />
}
