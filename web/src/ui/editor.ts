// The editor of values. It is a part of its own that is loaded when a value is first shown.
//
// CodeMirror adds its rules to the style sheets of a shadow tree by script, which the page's content
// security policy allows; in the document itself it would add a <style> element, which the policy
// forbids. So the editor is in a shadow tree.

import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands'
import { json, jsonParseLinter } from '@codemirror/lang-json'
import {
  bracketMatching,
  codeFolding,
  foldAll,
  foldGutter,
  foldKeymap,
  HighlightStyle,
  indentOnInput,
  syntaxHighlighting,
  unfoldAll,
} from '@codemirror/language'
import { linter } from '@codemirror/lint'
import { Compartment, EditorState, type Extension } from '@codemirror/state'
import { drawSelection, EditorView, highlightSpecialChars, keymap, lineNumbers } from '@codemirror/view'
import { tags } from '@lezer/highlight'

const colours = HighlightStyle.define([
  { tag: tags.propertyName, color: 'var(--code-name)' },
  { tag: tags.string, color: 'var(--code-string)' },
  { tag: tags.number, color: 'var(--code-number)' },
  { tag: [tags.bool, tags.null], color: 'var(--code-word)' },
  { tag: [tags.separator, tags.squareBracket, tags.brace], color: 'var(--code-punct)' },
])

const look = EditorView.theme({
  '&': { height: '100%', fontSize: '12px', backgroundColor: 'transparent', color: 'var(--ink)' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.55', overflow: 'auto' },
  '&.cm-focused': { outline: '2px solid var(--accent)', outlineOffset: '-2px' },
  '.cm-gutters': { backgroundColor: 'transparent', border: 'none', color: 'var(--ink-3)' },
  '.cm-content': { caretColor: 'var(--ink)' },
  '.cm-cursor': { borderLeftColor: 'var(--ink)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    backgroundColor: 'var(--accent-soft)',
  },
  '.cm-foldPlaceholder': { backgroundColor: 'var(--sunken)', border: '1px solid var(--line-hard)', color: 'var(--ink-2)' },
  '.cm-specialChar': { color: 'var(--danger)' },
  '.cm-tooltip': { backgroundColor: 'var(--surface)', border: '1px solid var(--line-hard)', color: 'var(--ink)' },
  '.cm-matchingBracket, &.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--accent-soft)' },
})

export interface EditorOptions {
  text: string
  json: boolean
  readOnly: boolean
  /** For screen readers. */
  label: string
  onChange?: () => void
  onSave?: () => void
  onEscape?: () => void
}

export interface Editor {
  text: () => string
  setText: (text: string) => void
  /** Keeps the text as it is, whatever is typed, or lets it be changed again. */
  lock: (locked: boolean) => void
  focus: () => void
  fold: () => void
  unfold: () => void
  destroy: () => void
}

// Above this size lines are not wrapped, and a text is not checked while it is typed.
const largeText = 256 << 10

function extensions(o: EditorOptions, readOnly: Compartment): Extension[] {
  const small = o.text.length < largeText
  const all: Extension[] = [
    lineNumbers(),
    codeFolding(),
    foldGutter(),
    highlightSpecialChars({ addSpecialChars: /[\p{Cf}\p{Co}\p{Zl}\p{Zp}]/gu }),
    drawSelection(),
    bracketMatching(),
    syntaxHighlighting(colours),
    look,
    EditorView.contentAttributes.of({ 'aria-label': o.label, ...(o.readOnly ? { tabindex: '0' } : {}) }),
    readOnly.of(EditorState.readOnly.of(o.readOnly)),
    EditorView.editable.of(!o.readOnly),
    keymap.of([
      { key: 'Mod-s', preventDefault: true, run: () => (o.onSave?.(), true) },
      { key: 'Mod-Enter', run: () => (o.onSave?.(), true) },
      { key: 'Escape', run: () => (o.onEscape?.(), !!o.onEscape) },
      ...(o.readOnly ? [] : [indentWithTab]),
      ...defaultKeymap,
      ...historyKeymap,
      ...foldKeymap,
    ]),
    EditorView.updateListener.of((u) => {
      if (u.docChanged) o.onChange?.()
    }),
  ]
  if (small) all.push(EditorView.lineWrapping)
  if (o.json) all.push(json())
  if (!o.readOnly) all.push(history(), indentOnInput())
  if (!o.readOnly && o.json && small) all.push(linter(jsonParseLinter()))
  return all
}

/** Puts an editor into an element. */
export function createEditor(host: HTMLElement, o: EditorOptions): Editor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' })
  // Lines end as they do in the value: only \n separates lines, and \r is a character.
  const readOnly = new Compartment()
  const state = EditorState.create({ doc: o.text, extensions: [EditorState.lineSeparator.of('\n'), ...extensions(o, readOnly)] })
  const view = new EditorView({ state, root, parent: root })
  return {
    text: () => view.state.doc.toString(),
    setText: (text) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } }),
    lock: (locked) => view.dispatch({ effects: readOnly.reconfigure(EditorState.readOnly.of(locked)) }),
    focus: () => view.focus(),
    fold: () => void foldAll(view),
    unfold: () => void unfoldAll(view),
    destroy: () => view.destroy(),
  }
}
