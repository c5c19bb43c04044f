import { t } from '../../text/index.ts'
import { Empty } from '../../ui/parts.tsx'

export const Access = () => <Empty>{t().screens.access}</Empty>
