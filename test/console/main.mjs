// Runs some of the scripts beside this one, in one browser: node main.mjs SITES DIRECTORY SCRIPT…
// Each script registers its tests; their order is that of the arguments.
import { before } from 'node:test'
import { seed } from './seed.mjs'

before(seed)
for (const name of process.argv.slice(4)) await import(`./${name}.mjs`)
