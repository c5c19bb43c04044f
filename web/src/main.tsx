import { render } from 'preact'
import { refreshSession } from './api/session.ts'
import { App } from './app.tsx'
import { startKeyboard } from './lib/keyboard.ts'
import { startRoute } from './lib/route.ts'
import { startTheme } from './lib/theme.ts'

startTheme()
startRoute()
startKeyboard()
void refreshSession()
render(<App />, document.getElementById('app')!)
