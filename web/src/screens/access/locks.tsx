// Locks and elections: who holds them, and who waits.

import { type Claim, locks } from '../../api/access.ts'
import { preview } from '../../lib/bytes.ts'
import { count } from '../../lib/format.ts'
import { t } from '../../text/index.ts'
import { useLoad } from '../../ui/load.ts'
import { Empty, Failure, Key, Left } from '../../ui/parts.tsx'
import { leaseName } from '../keys/list.tsx'

export function Locks() {
  const a = t().access
  const loaded = useLoad(locks, [], 5_000)
  const data = loaded.data
  if (loaded.error && !data) return <Failure e={loaded.error} retry={loaded.reload} />
  if (!data) return <Empty>{t().loading}</Empty>
  return (
    <>
      <h2>{a.locks}</h2>
      {data.locks.length === 0 ? (
        <p class="faint">{a.noLocks}</p>
      ) : (
        <div class="table-scroll" tabIndex={0} role="region" aria-label={a.locks}>
          <table>
            <thead>
              <tr>
                <th>{t().cluster.name}</th>
                <th>{a.holder}</th>
                <th class="num">{a.left}</th>
                <th>{a.waiters}</th>
              </tr>
            </thead>
            <tbody>
              {data.locks.map((l) => (
                <tr key={l.name}>
                  <th scope="row">
                    <Key k={l.name} /> <span class="tag">{l.kind === 'lock' ? a.lock : a.election}</span>
                  </th>
                  <td>{l.holder ? <Who c={l.holder} /> : <span class="faint">{t().none}</span>}</td>
                  <td class="num">{l.holder && <Left ends={l.holder.ends} />}</td>
                  <td>
                    <ol>
                      {l.waiters.map((w) => (
                        <li key={w.key}>
                          <Who c={w} />
                        </li>
                      ))}
                    </ol>
                    {l.waiterCount > l.waiters.length && <span class="faint">{a.moreKeys(count(l.waiterCount - l.waiters.length))}</span>}
                    {l.waiterCount === 0 && <span class="faint">{t().none}</span>}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {!data.complete && <p class="faint">{a.partial}</p>}
    </>
  )
}

const Who = ({ c }: { c: Claim }) => (
  <span class="wrap who">
    {c.value !== '' && (
      <>
        <bdi class="key">{preview(c.value, 80)}</bdi>{' '}
      </>
    )}
    <span class="mono faint">{leaseName(c.lease)}</span>{' '}
    <span class="faint small">
      {t().access.since} {count(c.revision)}
    </span>
  </span>
)
