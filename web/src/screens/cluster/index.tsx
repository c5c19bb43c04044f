// The screen Cluster: the members and their state, and what an operator does with them.

import { useEffect, useState } from 'preact/hooks'
import { type Change, cluster, type Cluster as State, type Member } from '../../api/cluster.ts'
import { mayAdminister } from '../../api/session.ts'
import { count, day, duration, size } from '../../lib/format.ts'
import { register } from '../../lib/keyboard.ts'
import { t } from '../../text/index.ts'
import { Icon } from '../../ui/icons.tsx'
import { useLoad } from '../../ui/load.ts'
import { Empty, Failure } from '../../ui/parts.tsx'
import { Backup } from './backup.tsx'
import { ChangeDialog, said } from './change.tsx'

const pollEvery = 5_000 // ms

export function Cluster() {
  const loaded = useLoad(cluster, [], pollEvery)
  const [change, setChange] = useState<{ kind: Change; member?: Member } | null>(null)
  useEffect(
    () => register(() => t().cluster.title, [{ keys: ['r'], help: () => t().commands.refresh, run: loaded.reload }]),
    [],
  )
  const state = loaded.data
  if (!state) return loaded.error ? <Failure e={loaded.error} retry={loaded.reload} /> : <Empty>{t().loading}</Empty>
  return (
    <div class="page stack">
      {loaded.error ? <Failure e={loaded.error} retry={loaded.reload} /> : null}
      <section class="stack">
        <div class="row">
          <h2>{t().cluster.members}</h2>
          <QuorumState state={state} />
          <span class="grow" />
          {mayAdminister.value && (
            <button class="button" onClick={() => setChange({ kind: 'add_learner' })}>
              <Icon name="plus" />
              {t().cluster.add}
            </button>
          )}
        </div>
        <Members members={state.members} onChange={(kind, member) => setChange({ kind, member })} />
      </section>
      <div class="cards">
        <Backup />
        <section class="card stack">
          <h2>{t().cluster.defrag}</h2>
          <p class="soft">{t().cluster.defragText}</p>
        </section>
      </div>
      {change && (
        <ChangeDialog
          key={change.kind}
          change={change.kind}
          member={change.member}
          onClose={() => {
            setChange(null)
            loaded.reload()
          }}
        />
      )}
    </div>
  )
}

function QuorumState({ state }: { state: State }) {
  const q = state.quorum
  return (
    <span class={q.tolerates < 0 ? 'tag bad' : q.tolerates === 0 && q.voters > 1 ? 'tag warn' : 'tag good'}>
      {t().cluster.quorumState(q.reachable, q.voters, q.needed, q.tolerates)}
    </span>
  )
}

interface MembersProps {
  members: Member[]
  onChange: (kind: Change, member: Member) => void
}

function Members({ members, onChange }: MembersProps) {
  const c = t().cluster
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label={c.members}>
      <table>
        <thead>
          <tr>
            <th>{c.name}</th>
            <th>{c.role}</th>
            <th>{c.version}</th>
            <th class="num">{c.revision}</th>
            <th class="num" title={c.lagHint}>
              {c.lag}
            </th>
            <th class="num">{c.size}</th>
            <th>{c.certificates}</th>
            {mayAdminister.value && <th>{c.actions}</th>}
          </tr>
        </thead>
        <tbody>
          {members.map((m) => (
            <MemberRow key={m.id} m={m} onChange={onChange} />
          ))}
        </tbody>
      </table>
    </div>
  )
}

const hexId = (id: string): string => BigInt(id).toString(16)

function MemberRow({ m, onChange }: { m: Member; onChange: MembersProps['onChange'] }) {
  const c = t().cluster
  const known = m.reachable && !m.unknown
  return (
    <tr>
      <th scope="row">
        <div class="row tight">
          <bdi>{m.name || c.unnamed}</bdi>
          {m.self && <span class="tag">{c.self}</span>}
        </div>
        <div class="faint mono small">{hexId(m.id)}</div>
        <div class="faint small" title={c.urls}>
          {[...(m.client_urls ?? []), ...(m.peer_urls ?? [])].map((url) => (
            <div key={url} class="url">
              {url}
            </div>
          ))}
        </div>
      </th>
      <td>
        <div class="row tight">
          <span class={m.role === 'leader' ? 'tag good' : 'tag'}>{c.roles[m.role] ?? m.role}</span>
          {!m.reachable && <span class="tag bad">{c.unreachable}</span>}
          {(m.alarms ?? []).map((a) => (
            <span key={a} class="tag bad">
              {a}
            </span>
          ))}
        </div>
        {(m.errors ?? []).map((e) => (
          <div key={e.code} class="soon small wrap">
            {said(e)}
          </div>
        ))}
        {m.unknown && (
          <div class="faint small wrap">
            {c.unknown}
          </div>
        )}
      </td>
      <td>{m.version || '–'}</td>
      <td class="num">{known ? count(m.revision) : '–'}</td>
      <td class="num">{known && m.lag >= 0 ? count(m.lag) : '–'}</td>
      <td class="num">
        {known ? size(m.db_bytes) : '–'}
        {known && (
          <div class="faint small">
            {size(m.db_in_use_bytes)} {c.inUse}
            {m.quota_bytes > 0 && <div>{c.quota(size(m.quota_bytes))}</div>}
          </div>
        )}
      </td>
      <td class="small">
        <Certificates m={m} known={known} />
      </td>
      {mayAdminister.value && (
        <td>
          <Actions m={m} onChange={onChange} />
        </td>
      )}
    </tr>
  )
}

const soonDays = 30

function Certificates({ m, known }: { m: Member; known: boolean }) {
  const c = t().cluster
  if (!known) return <>–</>
  if (!m.certificates?.length) return <span class="faint">{c.noCertificates}</span>
  return (
    <ul>
      {m.certificates.map((x) => {
        const end = new Date(x.not_after)
        const left = (end.getTime() - Date.now()) / 1000
        return (
          <li key={x.role + x.file} class={left < soonDays * 86400 ? 'soon' : undefined} title={x.file}>
            {x.role}, {x.file.replace(/^.*\//, '')}: {left <= 0 ? c.expired : c.expires(day(end), duration(left))}
          </li>
        )
      })}
    </ul>
  )
}

function Actions({ m, onChange }: { m: Member; onChange: MembersProps['onChange'] }) {
  const c = t().cluster
  const button = (kind: Change, text: string, danger = false) => (
    <button class={danger ? 'button danger small' : 'button small'} onClick={() => onChange(kind, m)}>
      {text}
    </button>
  )
  return (
    <div class="row tight">
      {m.learner && button('promote', c.promote)}
      {m.role === 'follower' && !m.learner && button('move_leader', c.move)}
      {button('replace', c.replace)}
      {button('remove', t().remove, true)}
    </div>
  )
}
