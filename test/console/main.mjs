// Runs all scripts one after the other in one browser: node main.mjs URL DIRECTORY.
// Each registers its tests; the order is that of the imports. access.mjs is the last one, since it
// enables authentication.
import './screens.mjs'
import './keys.mjs'
import './history.mjs'
import './live.mjs'
import './cluster.mjs'
import './many.mjs'
import './access.mjs'
