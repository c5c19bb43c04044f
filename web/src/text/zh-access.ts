import type { Text } from './index.ts'

export const zhAccess: Text['access'] = {
  title: 'Access',
}
