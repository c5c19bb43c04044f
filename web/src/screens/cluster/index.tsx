import { t } from '../../text/index.ts'
import { Empty } from '../../ui/parts.tsx'

export const Cluster = () => <Empty>{t().screens.cluster}</Empty>
