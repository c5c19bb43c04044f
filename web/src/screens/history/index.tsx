import { t } from '../../text/index.ts'
import { Empty } from '../../ui/parts.tsx'

export const History = () => <Empty>{t().screens.history}</Empty>
