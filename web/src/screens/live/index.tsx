// The screen Live: a watch, and the member's figures of the last hour.

import { signal } from '@preact/signals'
import { t } from '../../text/index.ts'
import { Tabs } from '../../ui/parts.tsx'
import { Charts } from './charts.tsx'
import { Watch } from './watch.tsx'

const view = signal<'watch' | 'charts'>('charts')

export function Live() {
  const tabs = (
    <Tabs
      label={t().live.title}
      tabs={[
        ['charts', t().live.charts],
        ['watch', t().live.watch],
      ]}
      at={view.value}
      onChange={(to) => (view.value = to)}
    />
  )
  return view.value === 'watch' ? <Watch tabs={tabs} /> : <Charts tabs={tabs} />
}
