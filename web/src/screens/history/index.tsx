// The screen History: the revisions of one key, and the whole store as it was.

import { signal } from '@preact/signals'
import { t } from '../../text/index.ts'
import { Tabs } from '../../ui/parts.tsx'
import { OneKey } from './one-key.tsx'
import { WholeStore } from './store.tsx'

const view = signal<'key' | 'store'>('key')

export function History() {
  const tabs = (
    <Tabs
      label={t().history.title}
      tabs={[
        ['key', t().history.ofKey],
        ['store', t().history.ofStore],
      ]}
      at={view.value}
      onChange={(to) => (view.value = to)}
    />
  )
  return view.value === 'key' ? <OneKey tabs={tabs} /> : <WholeStore tabs={tabs} onKey={() => (view.value = 'key')} />
}
