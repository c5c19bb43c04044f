// The members, what a change of them would do, and the change itself.

import { api, ApiError, Code, send, stopped, v3 } from './call.ts'

export interface Member {
  id: string
  name: string
  peer_urls: string[]
  client_urls: string[]
  role: 'leader' | 'follower' | 'learner' | 'unstarted'
  learner: boolean
  self: boolean
  reachable: boolean
  version: string
  revision: number
  lag: number
  db_bytes: number
  db_in_use_bytes: number
  quota_bytes: number
  alarms: string[] | null
  errors: Said[] | null
  certificates: { role: string; file: string; not_after: string }[] | null
  unknown?: string
}

export interface Quorum {
  voters: number
  needed: number
  reachable: number
  tolerates: number
}

export interface Cluster {
  cluster_id: string
  leader: string
  term: number
  members: Member[]
  quorum: Quorum
}

export const cluster = (stop?: AbortSignal): Promise<Cluster> => api('cluster', {}, stop)

export type Change = 'add' | 'add_learner' | 'remove' | 'promote' | 'replace' | 'move_leader'

export interface Said {
  code: string
  text: string
}

export interface Plan {
  allowed: boolean
  reason?: Said
  warnings: Said[] | null
  steps: Said[] | null
  before: Quorum
  after: Quorum
  /** The member that becomes the leader before the leader is removed. */
  successor?: string
}

/** What a change would do; changes nothing. */
export const plan = (change: Change, member: string | undefined, stop?: AbortSignal): Promise<Plan> =>
  api('plan', { change, ...(member ? { member } : {}) }, stop)

interface Listed {
  members?: { ID: string; name?: string; peerURLs?: string[] }[]
}

export interface Added {
  /** The flags with which the new member is started. */
  flags: string
}

export async function addMember(peerURLs: string[], learner: boolean): Promise<Added> {
  const r = await v3<Listed & { member?: { ID: string } }>('cluster/member/add', { peerURLs, isLearner: learner })
  const initial = (r.members ?? []).flatMap((m) => (m.peerURLs ?? []).map((url) => `${m.ID === r.member?.ID ? 'NAME' : m.name || 'NAME'}=${url}`))
  return {
    flags: [
      '--name NAME',
      `--initial-advertise-peer-urls ${peerURLs.join(',')}`,
      `--listen-peer-urls ${peerURLs.join(',')}`,
      `--initial-cluster ${initial.join(',')}`,
      '--initial-cluster-state existing',
    ].join(' \\\n  '),
  }
}

export const removeMember = (id: string): Promise<unknown> => v3('cluster/member/remove', { ID: id })
export const promoteMember = (id: string): Promise<unknown> => v3('cluster/member/promote', { ID: id })
export const moveLeader = (id: string): Promise<unknown> => api('move-leader', { member: id })

/** Downloads a backup. progress gets the bytes so far and the expected ones, which are an estimate. */
export async function backup(progress: (have: number, all: number) => void, stop: AbortSignal): Promise<Blob> {
  const response = await send('/console/api/snapshot', {}, stop)
  const all = Number(response.headers.get('X-Cairn-Snapshot-Bytes') ?? 0)
  let have = 0
  const counted = response.body!.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, to) {
        have += chunk.length
        progress(have, all)
        to.enqueue(chunk)
      },
    }),
  )
  try {
    // The browser collects the pieces; large ones go to its disk.
    return await new Response(counted, { headers: { 'Content-Type': 'application/octet-stream' } }).blob()
  } catch (e) {
    if (stop.aborted || stopped(e)) throw e
    throw new ApiError('the connection was lost during the download', Code.unavailable, 0)
  }
}
