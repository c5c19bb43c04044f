import type { Text } from './index.ts'

export const zhLive: Text['live'] = {
  title: 'Live',
}
