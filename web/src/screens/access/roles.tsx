// Roles and their permissions.

import { useState } from 'preact/hooks'
import { addRole, deleteRole, grant, type Kind, revoke, type Role, roles } from '../../api/access.ts'
import { mayAdminister } from '../../api/session.ts'
import { parse, prefixEnd, show } from '../../lib/bytes.ts'
import { t } from '../../text/index.ts'
import { Confirm } from '../../ui/confirm.tsx'
import { Icon } from '../../ui/icons.tsx'
import { useLoad } from '../../ui/load.ts'
import { Empty, Failure } from '../../ui/parts.tsx'
import { failed } from '../../ui/toast.tsx'
import { PermissionText } from './range.tsx'

type Doing = { what: 'add' } | { what: 'delete' | 'grant'; role: string }

export function Roles() {
  const a = t().access
  const loaded = useLoad(roles, [])
  const [doing, setDoing] = useState<Doing | null>(null)
  const close = () => {
    setDoing(null)
    loaded.reload()
  }
  if (loaded.error && !loaded.data) return <Failure e={loaded.error} retry={loaded.reload} />
  if (!loaded.data) return <Empty>{t().loading}</Empty>
  return (
    <>
      <div class="row">
        <h2 class="grow">{a.roles}</h2>
        {mayAdminister.value && (
          <button class="button" onClick={() => setDoing({ what: 'add' })}>
            <Icon name="plus" />
            {a.addRole}
          </button>
        )}
      </div>
      {loaded.data.length === 0 ? (
        <p class="faint">{a.noRoles}</p>
      ) : (
        <div class="table-scroll" tabIndex={0} role="region" aria-label={a.roles}>
          <table>
            <thead>
              <tr>
                <th>{a.role}</th>
                <th>{a.permissions}</th>
                {mayAdminister.value && <th>{t().cluster.actions}</th>}
              </tr>
            </thead>
            <tbody>
              {loaded.data.map((r) => (
                <RoleRow key={r.name} role={r} onDo={setDoing} onChanged={loaded.reload} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {doing?.what === 'add' && <AddRole onClose={close} />}
      {doing?.what === 'grant' && <Grant role={doing.role} onClose={close} />}
      {doing?.what === 'delete' && (
        <Confirm title={a.deleteRole} action={t().delete} word={doing.role} run={() => deleteRole(doing.role)} onClose={close}>
          <p>{a.deleteRoleText(doing.role)}</p>
        </Confirm>
      )}
    </>
  )
}

interface RowProps {
  role: Role
  onDo: (d: Doing) => void
  onChanged: () => void
}

function RoleRow({ role, onDo, onChanged }: RowProps) {
  const a = t().access
  return (
    <tr>
      <th scope="row">
        <bdi>{role.name}</bdi>
      </th>
      <td>
        {role.name === 'root' && <span class="tag good">{a.rootAll}</span>}
        {role.permissions.map((p) => (
          <div key={`${p.key} ${p.end}`} class="row tight">
            <span class="wrap">
              <PermissionText p={p} />
            </span>
            {mayAdminister.value && (
              <button
                class="button plain icon small"
                aria-label={a.revoke(`${a.kinds[p.kind]} ${show(p.key)}`)}
                onClick={() => void revoke(role.name, p).then(onChanged, failed)}
              >
                <Icon name="close" />
              </button>
            )}
          </div>
        ))}
      </td>
      {mayAdminister.value && (
        <td>
          <div class="row tight">
            {role.name !== 'root' && (
              <button class="button small" onClick={() => onDo({ what: 'grant', role: role.name })}>
                {a.grant}
              </button>
            )}
            <button class="button danger small" onClick={() => onDo({ what: 'delete', role: role.name })}>
              {t().delete}
            </button>
          </div>
        </td>
      )}
    </tr>
  )
}

function AddRole({ onClose }: { onClose: () => void }) {
  const a = t().access
  const [name, setName] = useState('')
  return (
    <Confirm title={a.addRole} action={t().create} danger={false} refused={name === ''} run={() => addRole(name)} onClose={onClose}>
      <label class="field">
        <span>{a.role}</span>
        <input class="input" name="new-role" autocomplete="off" value={name} onInput={(e) => setName(e.currentTarget.value)} />
      </label>
    </Confirm>
  )
}

type RangeKind = 'prefix' | 'key' | 'all' | 'range'

function Grant({ role, onClose }: { role: string; onClose: () => void }) {
  const a = t().access
  const [kind, setKind] = useState<Kind>('READ')
  const [range, setRange] = useState<RangeKind>('prefix')
  const [start, setStart] = useState('')
  const [until, setUntil] = useState('')
  const key = range === 'all' ? '\0' : parse(start)
  const end = { all: '\0', key: '', prefix: prefixEnd(key), range: parse(until) }[range]
  const valid = range === 'all' || (key !== '' && (range !== 'range' || end > key))
  return (
    <Confirm
      title={`${a.grant}: ${role}`}
      action={a.grant}
      danger={false}
      refused={!valid}
      run={() => grant(role, { kind, key, end })}
      onClose={onClose}
    >
      <div class="row">
        <label class="field">
          <span>{a.kind}</span>
          <select class="input" name="kind" value={kind} onChange={(e) => setKind(e.currentTarget.value as Kind)}>
            {(['READ', 'WRITE', 'READWRITE'] as const).map((k) => (
              <option value={k}>{a.kinds[k]}</option>
            ))}
          </select>
        </label>
        <label class="field">
          <span>{a.range}</span>
          <select class="input" name="range" value={range} onChange={(e) => setRange(e.currentTarget.value as RangeKind)}>
            {(['prefix', 'key', 'range', 'all'] as const).map((k) => (
              <option value={k}>{a.rangeKinds[k]}</option>
            ))}
          </select>
        </label>
      </div>
      {range !== 'all' && (
        <label class="field">
          <span>{a.key}</span>
          <input class="input mono" name="perm-key" autocomplete="off" spellcheck={false} value={start} onInput={(e) => setStart(e.currentTarget.value)} />
        </label>
      )}
      {range === 'range' && (
        <label class="field">
          <span>{a.rangeEnd}</span>
          <input class="input mono" name="perm-end" autocomplete="off" spellcheck={false} value={until} onInput={(e) => setUntil(e.currentTarget.value)} />
        </label>
      )}
    </Confirm>
  )
}
