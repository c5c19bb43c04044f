// A field whose text counts when the user is done with it: at Enter, or when the field is left.
// What is being typed stays while the screen around it changes.

import { useEffect, useState } from 'preact/hooks'

interface CommitInputProps {
  text: string
  onCommit: (text: string) => void
  name: string
  class: string
  type?: 'text' | 'number'
  'aria-label'?: string
  placeholder?: string
  disabled?: boolean
  maxLength?: number
  min?: number
  max?: number
}

export function CommitInput({ text, onCommit, type = 'text', ...rest }: CommitInputProps) {
  const [draft, setDraft] = useState(text)
  useEffect(() => setDraft(text), [text])
  return (
    <input
      autocomplete="off"
      spellcheck={false}
      {...({ type } as object)}
      {...rest}
      value={draft}
      onInput={(e) => setDraft(e.currentTarget.value)}
      onChange={(e) => onCommit(e.currentTarget.value)}
    />
  )
}
