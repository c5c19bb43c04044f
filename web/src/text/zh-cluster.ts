import type { Text } from './index.ts'

export const zhCluster: Text['cluster'] = {
  title: 'Cluster',
}
