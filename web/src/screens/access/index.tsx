// The screen Access.

import { signal } from '@preact/signals'
import { useState } from 'preact/hooks'
import { disableAuth, enableAuth } from '../../api/access.ts'
import { mayAdminister, refreshSession, session } from '../../api/session.ts'
import { t } from '../../text/index.ts'
import { Confirm } from '../../ui/confirm.tsx'
import { Tabs } from '../../ui/parts.tsx'
import { Leases } from './leases.tsx'
import { Locks } from './locks.tsx'
import { Roles } from './roles.tsx'
import { Tester } from './tester.tsx'
import { Users } from './users.tsx'

type View = 'users' | 'roles' | 'tester' | 'leases' | 'locks'

const view = signal<View>('users')
const parts = { users: Users, roles: Roles, tester: Tester, leases: Leases, locks: Locks }

export function Access() {
  const a = t().access
  const Part = parts[view.value]
  const root = session.value!.root
  return (
    <>
      <div class="toolbar">
        <Tabs
          label={a.title}
          tabs={[
            ['users', a.users],
            ['roles', a.roles],
            ['tester', a.tester],
            ['leases', a.leases],
            ['locks', a.locks],
          ]}
          at={view.value}
          onChange={(to) => (view.value = to)}
        />
      </div>
      <div class="page stack">
        {(view.value === 'users' || view.value === 'roles') && <AuthState />}
        {(view.value === 'users' || view.value === 'roles') && !root ? <p class="note">{a.needsRoot}</p> : <Part />}
      </div>
    </>
  )
}

function AuthState() {
  const a = t().access
  const on = session.value!.auth_enabled
  const [changing, setChanging] = useState(false)
  return (
    <div class={on ? 'note good row' : 'note warn row'}>
      <span class="grow">{on ? a.authOn : a.authOff}</span>
      {mayAdminister.value && (
        <button class={on ? 'button danger' : 'button'} onClick={() => setChanging(true)}>
          {on ? a.disable : a.enable}
        </button>
      )}
      {changing && (
        <Confirm
          title={on ? a.disable : a.enable}
          action={on ? a.disable : a.enable}
          danger={on}
          word={on ? 'disable' : undefined}
          run={on ? disableAuth : enableAuth}
          onClose={(finished) => {
            setChanging(false)
            if (finished) void refreshSession()
          }}
        >
          <p>{on ? a.disableText : a.enableText}</p>
        </Confirm>
      )}
    </div>
  )
}
