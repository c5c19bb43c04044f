// A value, shown in one of its forms.

import { useMemo } from 'preact/hooks'
import type { RefObject } from 'preact'
import { type Bytes, toText } from '../../lib/bytes.ts'
import { isCompact, layOut } from '../../lib/json.ts'
import { type KubeObject, kubernetes } from '../../lib/protobuf.ts'
import { t } from '../../text/index.ts'
import { Code } from '../../ui/code.tsx'
import type { Editor } from '../../ui/editor.ts'
import { Empty } from '../../ui/parts.tsx'
import { Virtual } from '../../ui/virtual.tsx'
import { type Form, hexRow } from './forms.ts'

interface ValueProps {
  value: Bytes
  form: Form
  editor?: RefObject<Editor | null>
}

export function Value({ value, form, editor }: ValueProps) {
  const text = useMemo(() => {
    const raw = form === 'text' || form === 'json' ? (toText(value) ?? '') : ''
    return form === 'json' && isCompact(raw) ? layOut(raw) : raw
  }, [value, form])
  if (value === '') return <Empty>{t().keys.emptyValue}</Empty>
  if (form === 'hex') return <Hex value={value} />
  if (form === 'kube') return <Kube value={value} />
  return <Code text={text} json={form === 'json'} readOnly label={t().keys.value} editor={editor} />
}

function Hex({ value }: { value: Bytes }) {
  return (
    <Virtual
      class="hex"
      length={Math.ceil(value.length / 16)}
      rowHeight={20}
      attrs={{ tabIndex: 0, role: 'region', 'aria-label': t().keys.hex }}
      row={(i) => {
        const [offset, bytes, characters] = hexRow(value, i)
        return (
          <div key={i} class="hex-row">
            <span class="faint">{offset}</span>
            <span>{bytes}</span>
            <span class="soft">{characters}</span>
          </div>
        )
      }}
    />
  )
}

function Kube({ value }: { value: Bytes }) {
  const object = useMemo(() => kubernetes(value), [value])
  if (!object) return null
  return (
    <div class="kube" tabIndex={0} role="region" aria-label={t().keys.kube}>
      <dl>
        {facts(object).map(([name, text]) => (
          <>
            <dt>{name}</dt>
            <dd class="wrap mono">
              <bdi>{text}</bdi>
            </dd>
          </>
        ))}
      </dl>
      <h3 class="label">{t().keys.kubeRaw}</h3>
      <pre>{object.outline}</pre>
    </div>
  )
}

function facts(o: KubeObject): [string, string][] {
  const all: [string, string][] = [
    ['apiVersion', o.apiVersion],
    ['kind', o.kind],
    ['namespace', o.namespace],
    ['name', o.name],
    ['uid', o.uid],
    ['created', o.created],
    ...o.labels.map(([k, v]): [string, string] => ['label', `${k}=${v}`]),
    ...o.annotations.map(([k, v]): [string, string] => ['annotation', `${k}=${v}`]),
  ]
  return all.filter(([, v]) => v !== '')
}
