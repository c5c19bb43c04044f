// A backup of this member as a file. The download goes on while other screens are shown.

import { signal } from '@preact/signals'
import { stopped } from '../../api/call.ts'
import { backup } from '../../api/cluster.ts'
import { session } from '../../api/session.ts'
import { size } from '../../lib/format.ts'
import { t } from '../../text/index.ts'
import { Icon } from '../../ui/icons.tsx'
import { done, failed } from '../../ui/toast.tsx'

/** The download, in bytes; null when there is none. */
const download = signal<{ have: number; all: number; stop: () => void } | null>(null)

async function run(): Promise<void> {
  const controller = new AbortController()
  const show = (have: number, all: number) => (download.value = { have, all, stop: () => controller.abort() })
  show(0, 0)
  try {
    const file = await backup(show, controller.signal)
    save(file)
    done(t().cluster.downloaded(size(file.size)))
  } catch (e) {
    if (!stopped(e)) failed(e)
  }
  download.value = null
}

export function Backup() {
  const c = t().cluster
  const progress = download.value
  return (
    <section class="card stack">
      <h2>{c.backup}</h2>
      <p class="soft">{c.backupText}</p>
      {!session.value?.root && <p class="note">{c.needsRoot}</p>}
      {progress ? (
        <div class="row">
          <progress aria-label={c.backup} max={Math.max(progress.all, progress.have, 1)} value={progress.have} />
          <span class="soft num">{c.downloading(size(progress.have), size(Math.max(progress.all, progress.have)))}</span>
          <button class="button" onClick={progress.stop}>
            {c.stopDownload}
          </button>
        </div>
      ) : (
        <div>
          <button class="button" disabled={!session.value?.root} onClick={() => void run()}>
            <Icon name="download" />
            {c.download}
          </button>
        </div>
      )}
    </section>
  )
}

function save(file: Blob): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(file)
  const time = new Date().toISOString().slice(0, 19).replace(/[:T]/g, '-')
  link.download = `${session.value?.member_name ?? 'cairn'}-${time}.db`
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}
