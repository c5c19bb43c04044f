// Users and their roles.

import { useState } from 'preact/hooks'
import { addUser, deleteUser, grantRole, revokeRole, roles, setPassword, type User, users } from '../../api/access.ts'
import { mayAdminister } from '../../api/session.ts'
import { t } from '../../text/index.ts'
import { Confirm } from '../../ui/confirm.tsx'
import { Icon } from '../../ui/icons.tsx'
import { useLoad } from '../../ui/load.ts'
import { Empty, Failure } from '../../ui/parts.tsx'
import { done, failed } from '../../ui/toast.tsx'

type Doing = { what: 'add' } | { what: 'delete' | 'password'; user: string }

export function Users() {
  const a = t().access
  const loaded = useLoad(async (stop) => ({ users: await users(stop), roles: (await roles(stop)).map((r) => r.name) }), [])
  const [doing, setDoing] = useState<Doing | null>(null)
  const change = (p: Promise<unknown>) => void p.then(loaded.reload, failed)
  const close = () => {
    setDoing(null)
    loaded.reload()
  }
  if (loaded.error && !loaded.data) return <Failure e={loaded.error} retry={loaded.reload} />
  if (!loaded.data) return <Empty>{t().loading}</Empty>
  return (
    <>
      <div class="row">
        <h2 class="grow">{a.users}</h2>
        {mayAdminister.value && (
          <button class="button" onClick={() => setDoing({ what: 'add' })}>
            <Icon name="plus" />
            {a.addUser}
          </button>
        )}
      </div>
      {loaded.data.users.length === 0 ? (
        <p class="faint">{a.noUsers}</p>
      ) : (
        <div class="table-scroll" tabIndex={0} role="region" aria-label={a.users}>
          <table>
            <thead>
              <tr>
                <th>{a.user}</th>
                <th>{a.roles}</th>
                {mayAdminister.value && <th>{t().cluster.actions}</th>}
              </tr>
            </thead>
            <tbody>
              {loaded.data.users.map((u) => (
                <UserRow key={u.name} user={u} roles={loaded.data!.roles} change={change} onDo={setDoing} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {doing?.what === 'add' && <AddUser onClose={close} />}
      {doing?.what === 'password' && <Password user={doing.user} onClose={close} />}
      {doing?.what === 'delete' && (
        <Confirm title={a.deleteUser} action={t().delete} word={doing.user} run={() => deleteUser(doing.user)} onClose={close}>
          <p>{a.deleteUserText(doing.user)}</p>
        </Confirm>
      )}
    </>
  )
}

interface RowProps {
  user: User
  roles: string[]
  change: (p: Promise<unknown>) => void
  onDo: (d: Doing) => void
}

function UserRow({ user: u, roles: all, change, onDo }: RowProps) {
  const a = t().access
  const others = all.filter((r) => !u.roles.includes(r))
  return (
    <tr>
      <th scope="row">
        <bdi>{u.name}</bdi>
      </th>
      <td>
        <div class="row tight">
          {u.roles.map((r) => (
            <span key={r} class="tag perm">
              <bdi>{r}</bdi>
              {mayAdminister.value && (
                <button class="button plain icon" aria-label={a.revoke(r)} onClick={() => change(revokeRole(u.name, r))}>
                  <Icon name="close" />
                </button>
              )}
            </span>
          ))}
          {mayAdminister.value && others.length > 0 && (
            <select
              class="input"
              aria-label={`${a.grantRole}: ${u.name}`}
              value=""
              onChange={(e) => {
                const role = e.currentTarget.value
                e.currentTarget.value = ''
                if (role) change(grantRole(u.name, role))
              }}
            >
              <option value="">{a.grantRole}</option>
              {others.map((r) => (
                <option value={r}>{r}</option>
              ))}
            </select>
          )}
        </div>
      </td>
      {mayAdminister.value && (
        <td>
          <div class="row tight">
            <button class="button small" onClick={() => onDo({ what: 'password', user: u.name })}>
              {a.setPassword}
            </button>
            <button class="button danger small" onClick={() => onDo({ what: 'delete', user: u.name })}>
              {t().delete}
            </button>
          </div>
        </td>
      )}
    </tr>
  )
}

function AddUser({ onClose }: { onClose: () => void }) {
  const a = t().access
  const [name, setName] = useState('')
  const [password, setPass] = useState('')
  return (
    <Confirm title={a.addUser} action={t().create} danger={false} refused={name === ''} run={() => addUser(name, password)} onClose={onClose}>
      <label class="field">
        <span>{a.user}</span>
        <input class="input" name="new-user" autocomplete="off" value={name} onInput={(e) => setName(e.currentTarget.value)} />
      </label>
      <label class="field">
        <span>{a.password}</span>
        <input class="input" name="new-password" type="password" autocomplete="new-password" value={password} onInput={(e) => setPass(e.currentTarget.value)} />
        {password === '' && <span class="hint">{a.noPassword}</span>}
      </label>
    </Confirm>
  )
}

function Password({ user, onClose }: { user: string; onClose: () => void }) {
  const a = t().access
  const [password, setPass] = useState('')
  const run = async () => {
    await setPassword(user, password)
    done(a.passwordSet)
  }
  return (
    <Confirm title={`${a.password}: ${user}`} action={t().save} danger={false} refused={password === ''} run={run} onClose={onClose}>
      <label class="field">
        <span>{a.password}</span>
        <input class="input" name="new-password" type="password" autocomplete="new-password" value={password} onInput={(e) => setPass(e.currentTarget.value)} />
      </label>
    </Confirm>
  )
}
