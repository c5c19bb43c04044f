import { t } from '../../text/index.ts'
import { Empty } from '../../ui/parts.tsx'

export const Live = () => <Empty>{t().screens.live}</Empty>
