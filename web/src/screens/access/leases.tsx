// Leases with their keys.

import { useState } from 'preact/hooks'
import { grantLease, type Lease, leases, revokeLease } from '../../api/access.ts'
import { readOnly } from '../../api/session.ts'
import { count, duration } from '../../lib/format.ts'
import { t } from '../../text/index.ts'
import { Confirm } from '../../ui/confirm.tsx'
import { Icon } from '../../ui/icons.tsx'
import { useLoad } from '../../ui/load.ts'
import { Empty, Failure, Key, Left } from '../../ui/parts.tsx'
import { done } from '../../ui/toast.tsx'
import { leaseName } from '../keys/list.tsx'

export function Leases() {
  const a = t().access
  const [from, setFrom] = useState('0')
  const loaded = useLoad((stop) => leases(from, stop), [from], 10_000)
  const [granting, setGranting] = useState(false)
  const [ending, setEnding] = useState<Lease | null>(null)
  const data = loaded.data
  if (loaded.error && !data) return <Failure e={loaded.error} retry={loaded.reload} />
  if (!data) return <Empty>{t().loading}</Empty>
  return (
    <>
      <div class="row">
        <h2 class="grow">{a.leases}</h2>
        {!readOnly.value && (
          <button class="button" onClick={() => setGranting(true)}>
            <Icon name="plus" />
            {a.grantLease}
          </button>
        )}
      </div>
      {data.leases.length === 0 ? (
        <p class="faint">{a.noLeases}</p>
      ) : (
        <div class="table-scroll" tabIndex={0} role="region" aria-label={a.leases}>
          <table>
            <thead>
              <tr>
                <th>{a.id}</th>
                <th class="num">{a.ttl}</th>
                <th class="num">{a.left}</th>
                <th>{a.keys}</th>
                {!readOnly.value && <th>{t().cluster.actions}</th>}
              </tr>
            </thead>
            <tbody>
              {data.leases.map((l) => (
                <tr key={l.id}>
                  <th scope="row" class="mono">
                    {leaseName(l.id)}
                  </th>
                  <td class="num">{duration(l.ttl)}</td>
                  <td class="num">
                    <Left ends={l.ends} />
                  </td>
                  <td>
                    {l.keys.map((k) => (
                      <div key={k} class="wrap">
                        <Key k={k} />
                      </div>
                    ))}
                    {l.keyCount > l.keys.length && <span class="faint">{a.moreKeys(count(l.keyCount - l.keys.length))}</span>}
                  </td>
                  {!readOnly.value && (
                    <td>
                      <button class="button danger small" onClick={() => setEnding(l)}>
                        {a.revokeLease}
                      </button>
                    </td>
                  )}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {data.hidden > 0 && <p class="faint">{a.hidden(count(data.hidden), data.hidden)}</p>}
      {data.next !== '' && data.next !== '0' && (
        <button class="button" onClick={() => setFrom(data.next)}>
          {a.more}
        </button>
      )}
      {granting && (
        <Grant
          onClose={() => {
            setGranting(false)
            loaded.reload()
          }}
        />
      )}
      {ending && (
        <Confirm
          title={a.revokeLease}
          action={a.revokeLease}
          word={String(ending.keyCount)}
          run={async () => {
            await revokeLease(ending.id)
            done(a.revoked)
          }}
          onClose={() => {
            setEnding(null)
            loaded.reload()
          }}
        >
          <p class="mono">{leaseName(ending.id)}</p>
          <p>{a.revokeText(count(ending.keyCount), ending.keyCount)}</p>
        </Confirm>
      )}
    </>
  )
}

function Grant({ onClose }: { onClose: () => void }) {
  const a = t().access
  const [seconds, setSeconds] = useState('60')
  const n = Number(seconds)
  return (
    <Confirm
      title={a.grantLease}
      action={t().create}
      danger={false}
      refused={!Number.isInteger(n) || n < 1}
      run={async () => done(a.granted(leaseName(await grantLease(n))))}
      onClose={onClose}
    >
      <label class="field">
        <span>{a.seconds}</span>
        <input class="input" name="lease-ttl" type="number" min="1" value={seconds} onInput={(e) => setSeconds(e.currentTarget.value)} />
      </label>
    </Confirm>
  )
}
