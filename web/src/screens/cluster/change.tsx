// A change of the members as a guided step: what it will do, what quorum remains, and why it is
// refused when it would lose the quorum.

import { useRef, useState } from 'preact/hooks'
import { addMember, type Change, type Member, moveLeader, type Plan, plan, promoteMember, type Quorum, removeMember, type Said } from '../../api/cluster.ts'
import { t } from '../../text/index.ts'
import { Confirm } from '../../ui/confirm.tsx'
import { Copy } from '../../ui/copy.tsx'
import { Dialog } from '../../ui/dialog.tsx'
import { useLoad } from '../../ui/load.ts'
import { Failure } from '../../ui/parts.tsx'
import { done } from '../../ui/toast.tsx'

interface ChangeProps {
  change: Change
  member?: Member
  onClose: () => void
}

const planEvery = 5_000 // ms: members come and go while the dialog is open

const isUrl = (text: string): boolean => /^https?:\/\/[^\s/]+:\d+$/.test(text)

export function ChangeDialog({ change, member, onClose }: ChangeProps) {
  const c = t().cluster
  const [learner, setLearner] = useState(change !== 'add')
  const [urls, setUrls] = useState('')
  const [flags, setFlags] = useState<string | null>(null)
  const adds = change === 'add' || change === 'add_learner' || change === 'replace'
  const removes = change === 'remove' || change === 'replace'
  const removed = useRef(false)
  const kind: Change = change === 'replace' || !adds ? change : learner ? 'add_learner' : 'add'
  const planned = useLoad((stop) => plan(kind, member?.id, stop), [kind], planEvery)
  const list = urls.split(',').map((u) => u.trim())
  const badUrls = adds && !list.every(isUrl)
  const run = async () => {
    if (removes && !removed.current) {
      if (planned.data?.successor) await moveLeader(planned.data.successor)
      await removeMember(member!.id)
      removed.current = true // when the addition fails, the next attempt only adds
    }
    if (change === 'promote') await promoteMember(member!.id)
    if (change === 'move_leader') await moveLeader(member!.id)
    if (adds) setFlags((await addMember(list, change === 'replace' || learner)).flags)
    else done(c.changed(c.titles[change]))
  }
  if (flags !== null) {
    return (
      <Dialog
        title={c.titles[kind]}
        onClose={onClose}
        foot={
          <button type="button" class="button primary" onClick={onClose}>
            {t().close}
          </button>
        }
      >
        <div class="row">
          <p class="grow">{c.added}</p>
          <Copy text={'etcd ' + flags} />
        </div>
        <pre class="flags" tabIndex={0}>
          etcd {flags}
        </pre>
      </Dialog>
    )
  }
  return (
    <Confirm
      title={c.titles[kind] + (member ? ': ' + (member.name || member.id) : '')}
      action={c.titles[kind]}
      danger={removes}
      word={removes ? member!.name || member!.id : undefined}
      refused={!planned.data?.allowed || badUrls}
      run={run}
      onClose={(finished) => {
        if (!finished || !adds) onClose()
      }}
    >
      {adds && (
        <>
          <label class="field">
            <span>{c.peerUrls}</span>
            <input
              class="input mono"
              name="peer-urls"
              autofocus
              autocomplete="off"
              spellcheck={false}
              placeholder="http://10.0.0.4:2380"
              aria-invalid={urls !== '' && badUrls}
              value={urls}
              onInput={(e) => setUrls(e.currentTarget.value)}
            />
            {urls !== '' && badUrls && <span class="hint">{c.badUrls}</span>}
          </label>
          {change !== 'replace' && (
            <label class="check">
              <input type="checkbox" name="learner" checked={learner} onChange={(e) => setLearner(e.currentTarget.checked)} />
              {c.asLearner}
            </label>
          )}
        </>
      )}
      {planned.error ? <Failure e={planned.error} retry={planned.reload} /> : planned.data ? <Planned plan={planned.data} /> : <p>{c.planning}</p>}
    </Confirm>
  )
}

/** A sentence of the server in the console's language. */
export const said = (s: Said): string => t().cluster.codes[s.code] ?? s.text

const quorum = (q: Quorum): string => t().cluster.quorumOf(q.voters, q.reachable, q.needed, q.tolerates)

function Planned({ plan: p }: { plan: Plan }) {
  const c = t().cluster
  return (
    <>
      {!p.allowed && (
        <p class="note bad" role="alert">
          <b>{c.refused}.</b> {p.reason && said(p.reason)}
        </p>
      )}
      {p.allowed && (
        <div>
          <h3>{c.willDo}</h3>
          <ol class="steps">
            {(p.steps ?? []).map((s) => (
              <li key={s.code}>{said(s)}</li>
            ))}
          </ol>
        </div>
      )}
      {(p.allowed ? (p.warnings ?? []) : []).map((w) => (
        <p key={w.code} class="note warn">
          {said(w)}
        </p>
      ))}
      <p class="soft">
        <b>{c.quorumAfter}</b>{' '}
        {c.beforeAfter(quorum(p.before), quorum(p.after))}
      </p>
    </>
  )
}
