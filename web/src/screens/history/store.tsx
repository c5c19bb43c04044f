// The whole store as of a past revision: a slider from the compaction up to now.

import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useMemo, useState } from 'preact/hooks'
import { times } from '../../api/history.ts'
import type { Version } from '../../api/keys.ts'
import { mayWrite, session } from '../../api/session.ts'
import { count, moment } from '../../lib/format.ts'
import { openKey } from '../../lib/route.ts'
import { t } from '../../text/index.ts'
import { CommitInput } from '../../ui/commit-input.tsx'
import { useLoad } from '../../ui/load.ts'
import { Empty } from '../../ui/parts.tsx'
import { Browser } from '../keys/browser.ts'
import { useKeyCommands } from '../keys/commands.ts'
import { Detail } from '../keys/detail.tsx'
import { openOrToggle } from '../keys/index.tsx'
import { KeyList } from '../keys/list.tsx'
import { Restore } from './restore.tsx'

export function WholeStore({ tabs, onKey }: { tabs: ComponentChildren; onKey: () => void }) {
  const newest = session.value!.revision
  const browser = useMemo(() => new Browser(newest), [])
  const oldest = Math.max(1, session.value!.compact_revision)
  const at = useSignal(newest)
  const known = useLoad(() => times(), [])
  const [restoring, setRestoring] = useState<Version | null>(null)
  useEffect(() => {
    if (browser.revision.peek() === at.value) return
    // The list follows the slider when that has not moved for a moment.
    const timer = setTimeout(() => {
      browser.revision.value = at.value
      void browser.refresh()
    }, 120)
    return () => clearTimeout(timer)
  }, [at.value])
  useKeyCommands(browser, { onOpen: (row) => openOrToggle(browser, row), onRefresh: () => void browser.refresh() })
  if (newest <= oldest) {
    return (
      <>
        <div class="toolbar">{tabs}</div>
        <Empty>{t().history.nothingKept}</Empty>
      </>
    )
  }
  const made = known.data?.findLast((s) => s.revision <= at.value)?.time
  const open = browser.open.value
  return (
    <>
      <div class="toolbar">
        {tabs}
        <label class="slider grow">
          <span class="unseen">{t().history.timeMachine}</span>
          <span class="faint">{count(oldest)}</span>
          <input type="range" name="revision" min={oldest} max={newest} value={at.value} onInput={(e) => (at.value = Number(e.currentTarget.value))} />
          <span class="faint">{count(newest)}</span>
        </label>
        <CommitInput
          class="input revision"
          type="number"
          name="revision-number"
          aria-label={t().history.timeMachine}
          min={oldest}
          max={newest}
          text={String(at.value)}
          onCommit={(text) => (at.value = Math.max(oldest, Math.min(newest, Number(text) || newest)))}
        />
      </div>
      <div class="banner" role="status">
        {t().history.asOf(count(at.value))}
        {made && ` · ${t().history.made(moment(made))}`}
      </div>
      <div class={open === null ? 'split' : 'split open'}>
        <div class="side">
          <KeyList browser={browser} id="past" onOpen={(row) => openOrToggle(browser, row)} selectable={false} />
        </div>
        {open !== null && (
          <Detail
            k={open}
            revision={browser.revision.value}
            ends={0}
            again={0}
            onClose={() => browser.show(null)}
            onChanged={() => {}}
            onDelete={() => {}}
            onHistory={() => {
              openKey.value = open
              onKey()
            }}
            onRestore={mayWrite(open) ? setRestoring : undefined}
          />
        )}
      </div>
      {restoring && <Restore k={restoring.key} value={restoring.value} revision={browser.revision.value} onClose={() => setRestoring(null)} />}
    </>
  )
}
